package sim

import "strings"

const (
	fullAdmin     = "FULL_ADMIN"
	readonlyAdmin = "READONLY_ADMIN"
)

// includes reports whether holding a role is as good as holding another:
// FULL_ADMIN is as good as any, READONLY_ADMIN as every X_READ, and X_WRITE as
// X_READ.
func includes(held, wanted string) bool {
	switch {
	case held == wanted, held == fullAdmin:
		return true
	case !strings.HasSuffix(wanted, "_READ"):
		return false
	case held == readonlyAdmin:
		return true
	}
	return held == strings.TrimSuffix(wanted, "_READ")+"_WRITE"
}

// allowed reports whether the account holds any one of the roles. No roles at
// all permits every user.
func (a *account) allowed(roles []string) bool {
	if len(roles) == 0 {
		return true
	}
	for _, wanted := range roles {
		for _, held := range a.key.Roles {
			if includes(held, wanted) {
				return true
			}
		}
	}
	return false
}

// sees reports whether the account may know of a job: users see their own,
// and FULL_ADMIN all of them.
func (a *account) sees(j *job) bool {
	return a != nil && (j.owner.key.Username == a.key.Username || a.allowed([]string{fullAdmin}))
}
