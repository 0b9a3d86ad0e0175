package server_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/config/reference"
)

// The table in capabilities.md is measured: the test tries every RPC on every release, and its roles are those that the refusals
// name until it succeeds.
func TestTableOfRPCs(t *testing.T) {
	t.Parallel()
	reference.Hold(t, "../deploy/docs/capabilities.md", "./server -run TestTableOfRPCs", tableOfRPCs(t))
}

// tableRow is the result for one ability, or for several that differ in their value.
type tableRow struct {
	ability
	values []string
	works  []bool   // by release
	roles  []string // named by the refusals
}

func tableOfRPCs(t *testing.T) string {
	var rows []*tableRow
	list, with := abilities(), newSupplies(t)
	works := make([][]bool, len(list))
	for _, release := range allReleases {
		s := newStand(t, with, release, "FULL_ADMIN")
		for i, a := range list {
			a.prepare(s)
			works[i] = append(works[i], a.try(s) == nil)
		}
	}
	var asked *stand
	for i, a := range list {
		if i%4 == 0 { // A NAS accepts only a limited number of logins per minute.
			asked = newStand(t, with, allReleases[len(allReleases)-1], other...)
		}
		r := &tableRow{ability: a, works: works[i]}
		if slices.Contains(works[i], true) {
			r.roles = asked.rolesRequested(a)
		}
		if n := len(rows); n > 0 && rows[n-1].like(r) {
			rows[n-1].values = append(rows[n-1].values, a.value)
			continue
		}
		r.values = append(r.values, a.value)
		rows = append(rows, r)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "| | capability | %s | roles of the key |\n|%s\n", strings.Join(allReleases, " | "), strings.Repeat("-|", len(allReleases)+3))
	for _, r := range rows {
		if r.value == "" || slices.Contains(r.works, true) { // The unsupported formats and the like are too many to list.
			b.WriteString(r.String())
		}
	}
	return b.String()
}

func (r *tableRow) like(other *tableRow) bool {
	return r.rpc == other.rpc && r.what == other.what && r.flag == other.flag && slices.Equal(r.works, other.works) && slices.Equal(r.roles, other.roles)
}

func (r *tableRow) String() string {
	name := r.ability
	name.value = strings.Join(r.values, ", ")
	cells := []string{name.String(), quoted(r.flag)}
	for _, works := range r.works {
		cells = append(cells, map[bool]string{true: "yes", false: "no"}[works])
	}
	var roles []string
	for _, role := range r.roles {
		roles = append(roles, quoted(role))
	}
	return "| " + strings.Join(append(cells, strings.Join(roles, " ")), " | ") + " |\n"
}

func quoted(word string) string {
	if word == "" {
		return ""
	}
	return "`" + word + "`"
}

// roleAsked finds the roles in a refusal.
var roleAsked = regexp.MustCompile(`(?:needs the roles?|only a key with the role) ([A-Z_]+(?:, [A-Z_]+)*)`)

// other is the role of a key without any of the needed roles: of a key without roles, nothing is known.
var other = []string{"SHARING_READ"}

// rolesRequested adds the roles that a refusal names to a key, until no refusal is left.
func (s *stand) rolesRequested(a ability) []string {
	t := s.t
	t.Helper()
	var roles []string
	s.grant(other)
	for range 4 {
		a.prepare(s)
		err := a.try(s)
		if err == nil {
			return roles
		}
		asked := roleAsked.FindStringSubmatch(err.Error())
		if asked == nil {
			t.Fatalf("%s: %v; want a role", a, err)
		}
		if roles = append(roles, strings.Split(asked[1], ", ")...); slices.Contains(roles, "FULL_ADMIN") {
			roles = []string{"FULL_ADMIN"} // It includes all others.
		}
		s.grant(slices.Concat(roles, other))
	}
	t.Fatalf("%s: still refused with %v", a, roles)
	return nil
}

// grant changes the roles of the tried key. TrueNAS reports them at login.
func (s *stand) grant(roles []string) {
	s.t.Helper()
	s.nas.SetRoles(triedUser, roles...)
	s.client = s.provider(s.tried)
	if _, err := s.client.Validate(background, &providerv1.ValidateRequest{}); err != nil {
		s.t.Fatal(err)
	}
}
