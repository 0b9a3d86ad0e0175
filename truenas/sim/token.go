package sim

import (
	"encoding/hex"
	"encoding/json"
	"time"
)

// tokenLife is the default lifetime of a token.
const tokenLife = 600 * time.Second

// token gives access with the rights of the session that made it.
type token struct {
	user    *account
	expires time.Time
	address string // the only peer that may use it; empty: any
	once    bool
	job     int // the download that it is for; 0: a login
}

// newToken makes a token and returns its text. The caller holds the lock.
func (s *Sim) newToken(a *account, life time.Duration, address string, once bool) string {
	text := hex.EncodeToString(s.randomBytes(32))
	s.tokens[text] = &token{user: a, expires: s.clock.Now().Add(life), address: address, once: once}
	return text
}

// redeem finds a valid token for a job, or for a login if job is 0. It removes a token that works only once. The caller holds the
// lock.
func (s *Sim) redeem(text, address string, job int) (*account, error) {
	t := s.tokens[text]
	switch {
	case t == nil || t.job != job:
		return nil, errBadKey
	case t.address != "" && t.address != address:
		return nil, errBadKey
	case s.clock.Now().After(t.expires):
		delete(s.tokens, text)
		return nil, errBadKey
	}
	if t.once {
		delete(s.tokens, text)
	}
	return t.user, nil
}

func generateToken(c *call) (any, error) {
	var (
		ttl         json.RawMessage // a number or null
		seconds     = int64(tokenLife / time.Second)
		attrs       map[string]any
		matchOrigin = true
		once        bool
	)
	err := c.args([]string{"ttl?", "attrs?", "match_origin?", "single_use?"}, &ttl, &attrs, &matchOrigin, &once)
	if err != nil {
		return nil, err
	}
	if ttl != nil && string(ttl) != "null" {
		if bad := c.decode("ttl", ttl, &seconds); bad != nil {
			return nil, bad
		}
	}
	address := ""
	if matchOrigin {
		address = c.session.peer.address
	}
	return c.sim.newToken(c.session.user, time.Duration(seconds)*time.Second, address, once), nil
}

func loginByToken(c *call, raw json.RawMessage) (any, error) {
	p := struct {
		Mechanism string       `json:"mechanism" sim:"required"`
		Token     string       `json:"token" sim:"required"`
		Options   loginOptions `json:"login_options"`
	}{Options: loginOptions{UserInfo: true}}
	if bad := c.decode("login_data."+byToken, raw, &p); bad != nil {
		return nil, bad
	}
	a, err := c.sim.redeem(p.Token, c.session.peer.address, 0)
	if err != nil {
		return response{"response_type": loginError}, nil
	}
	return c.accept(a, p.Options), nil
}

func loginWithToken(c *call) (any, error) {
	var text string
	if err := c.args([]string{"token"}, &text); err != nil {
		return nil, err
	}
	a, err := c.sim.redeem(text, c.session.peer.address, 0)
	if err != nil {
		return false, nil
	}
	c.accept(a, loginOptions{})
	return true, nil
}
