package sim

import "strings"

const (
	fullAdmin     = "FULL_ADMIN"
	readonlyAdmin = "READONLY_ADMIN"
)

// includes reports whether one role includes another: FULL_ADMIN includes all, READONLY_ADMIN every X_READ, and X_WRITE the
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

// allowed reports whether the account has any of the roles. An empty list allows every user.
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

// sees reports whether the account may see a job: users see their own jobs, and FULL_ADMIN sees all.
func (a *account) sees(j *job) bool {
	return a != nil && (j.owner.key.Username == a.key.Username || a.allowed([]string{fullAdmin}))
}
