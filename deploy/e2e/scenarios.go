package main

import (
	"context"
	"fmt"
	"strings"
)

// scenario is a sequence of changes of Kubernetes objects with its expected result.
type scenario struct {
	name  string
	short bool // part of the short selection
	play  func(ctx context.Context, s *stage) error
}

// scenarios lists all scenarios, the longest first, so that the run does not end with a long one alone.
var scenarios = []scenario{
	{"away", false, away},
	{"killed", false, killed},
	{"migrate-killed", false, killedMigration},
	{"migrate-claim", false, migrateClaim},
	{"migrate-s3", true, migrateS3},
	{"machine", true, machineLife},
	{"fifty", false, fifty},
	{"renumbered", false, renumbered},
	{"image", true, badImages},
	{"names", false, sameNames},
	{"orphan", false, orphan},
	{"adopt", false, adoption},
}

// choose returns the scenarios for "all", "short", or names with commas.
func choose(which string) ([]scenario, error) {
	var chosen []scenario
	wanted := map[string]bool{}
	for name := range strings.SplitSeq(which, ",") {
		wanted[name] = true
	}
	for _, sc := range scenarios {
		if wanted["all"] || wanted["short"] && sc.short || wanted[sc.name] {
			chosen = append(chosen, sc)
		}
		delete(wanted, sc.name)
	}
	delete(wanted, "all")
	delete(wanted, "short")
	for name := range wanted {
		return nil, fmt.Errorf("there is no scenario %q", name)
	}
	return chosen, nil
}
