package configcheck

import (
	"fmt"
	"io"
	"text/tabwriter"

	"virtrigaud-provider-truenas/server"
)

// words are the texts of verdicts in the table.
var words = map[server.Verdict]string{server.Works: "ok", server.Partly: "note", server.Prevent: "FAIL"}

// show writes the table: a line for each finding, and its remedy below it.
func show(out io.Writer, found []server.Finding) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range found {
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\n", words[f.Verdict], f.About, f.Found)
		if f.Advice != "" {
			_, _ = fmt.Fprintf(table, "\t\t-> %s\n", f.Advice)
		}
	}
	return table.Flush()
}

// verdict returns an error if a required check failed.
func verdict(found []server.Finding) error {
	failed := 0
	for _, f := range found {
		if f.Verdict == server.Prevent {
			failed++
		}
	}
	switch failed {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("1 check failed")
	}
	return fmt.Errorf("%d checks failed", failed)
}
