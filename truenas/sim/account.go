package sim

import (
	"fmt"
	"slices"
	"strings"
)

// account is an API key with its owner and its state.
type account struct {
	key     Key
	id      string // of the key: its part before the first "-"
	secret  string // the rest of the key
	revoked bool
	scram   *scramKeys // derived at the first SCRAM login
}

func newAccount(k Key) (*account, error) {
	id, secret, ok := strings.Cut(k.APIKey, "-")
	if !ok || id == "" || secret == "" || k.Username == "" {
		return nil, fmt.Errorf("the API key of user %q is not of the form <id>-<secret>", k.Username)
	}
	k.Roles = slices.Clone(k.Roles)
	return &account{key: k, id: id, secret: secret}, nil
}

// accountOf returns the account of a key. The caller holds the lock.
func (s *Sim) accountOf(apiKey string) *account {
	for _, a := range s.accounts {
		if a.key.APIKey == apiKey {
			return a
		}
	}
	return nil
}

// SetRoles changes the roles of a user, from the next call on.
func (s *Sim) SetRoles(username string, roles ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.key.Username == username {
			a.key.Roles = slices.Clone(roles)
		}
	}
}

// ExpireKey expires a user's keys. Existing sessions stay logged in.
func (s *Sim) ExpireKey(username string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, a := range s.accounts {
		if a.key.Username == username {
			a.key.Expired = true
		}
	}
}

// RevokedKeys lists the ids of the keys that TrueNAS revoked because another host sent them without TLS.
func (s *Sim) RevokedKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, a := range s.accounts {
		if a.revoked {
			ids = append(ids, a.id)
		}
	}
	return ids
}

// userInfo is the description of a user in auth.me.
type userInfo struct {
	Name              string         `json:"pw_name"`
	Gecos             string         `json:"pw_gecos"`
	Dir               string         `json:"pw_dir"`
	Shell             string         `json:"pw_shell"`
	UID               int            `json:"pw_uid"`
	GID               int            `json:"pw_gid"`
	Groups            []int          `json:"grouplist"`
	SID               *string        `json:"sid"`
	Source            string         `json:"source"`
	Local             bool           `json:"local"`
	Attributes        map[string]any `json:"attributes"`
	TwoFactorConfig   map[string]any `json:"two_factor_config"`
	Privilege         map[string]any `json:"privilege"`
	AccountAttributes []string       `json:"account_attributes"`
}

// info describes the user, with sets in TrueNAS's encoding.
func (a *account) info() userInfo {
	u := userInfo{
		Name: a.key.Username, Dir: "/var/empty", Shell: "/usr/sbin/nologin", UID: 3000, GID: 3000,
		Groups: []int{3000}, Source: "LOCAL", Local: true,
		Attributes: map[string]any{}, TwoFactorConfig: map[string]any{},
		Privilege: map[string]any{
			"roles":        map[string]any{"$set": slices.Clone(a.key.Roles)},
			"allowlist":    []any{},
			"web_shell":    false,
			"webui_access": a.allowed([]string{readonlyAdmin}),
		},
		AccountAttributes: []string{"LOCAL", "API_KEY"},
	}
	if u.Name == DefaultUser {
		u.Gecos, u.Dir, u.Shell, u.UID, u.GID, u.Groups = "root", "/root", "/usr/bin/zsh", 0, 0, []int{0}
	}
	return u
}
