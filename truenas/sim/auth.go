package sim

import (
	"encoding/json"
	"errors"
)

var authMethods = map[string]method{
	"auth.login_ex":           {open: v25_04_2, run: loginEx},
	"auth.login_with_api_key": {open: v25_04_2, until: v26, run: loginWithAPIKey},
	"auth.login_with_token":   {open: v25_04_2, run: loginWithToken},
	"auth.mechanism_choices":  {open: v25_04_2, run: mechanismChoices},
	"auth.generate_token":     {run: generateToken},
	"auth.me":                 {run: me},
	"auth.logout":             {run: logout},
}

// Mechanisms of auth.login_ex.
const (
	byPassword = "PASSWORD_PLAIN"
	byToken    = "TOKEN_PLAIN"
	byKey      = "API_KEY_PLAIN"
	byOTP      = "OTP_TOKEN"
	byScram    = "SCRAM"
)

// Response types of auth.login_ex.
const (
	loginSuccess = "SUCCESS"
	loginError   = "AUTH_ERR"
	loginExpired = "EXPIRED"
	loginScram   = "SCRAM_RESPONSE"
)

func mechanismsOf(r release) []string {
	names := []string{byPassword, byToken, byKey}
	if r >= v26 {
		names = append(names, byScram)
	}
	return names
}

func mechanismChoices(c *call) (any, error) {
	return mechanismsOf(c.release()), c.args(nil)
}

type loginOptions struct {
	UserInfo       bool `json:"user_info"`
	ReconnectToken bool `json:"reconnect_token" sim:"since=26"`
}

// loginEx dispatches by mechanism, because mechanisms differ in their parameters.
func loginEx(c *call) (any, error) {
	var raw json.RawMessage
	if err := c.args([]string{"login_data"}, &raw); err != nil {
		return nil, err
	}
	var tag struct{ Mechanism string }
	_ = json.Unmarshal(raw, &tag) // without a mechanism, the reply is that to a wrong one
	switch {
	case tag.Mechanism == byKey:
		return loginByKey(c, raw)
	case tag.Mechanism == byToken:
		return loginByToken(c, raw)
	case tag.Mechanism == byPassword:
		return loginByPassword(c, raw)
	case tag.Mechanism == byScram && c.release() >= v26:
		return loginByScram(c, raw)
	}
	var v invalid
	v.add("login_data", eINVAL, "Input tag '%s' found using 'mechanism' does not match any of the expected tags: %s",
		tag.Mechanism, oneOf(append(mechanismsOf(c.release()), byOTP), "'"))
	return nil, v.err()
}

func loginByKey(c *call, raw json.RawMessage) (any, error) {
	p := struct {
		Mechanism string       `json:"mechanism" sim:"required"`
		Username  string       `json:"username" sim:"required"`
		APIKey    string       `json:"api_key" sim:"required"`
		Options   loginOptions `json:"login_options"`
	}{Options: loginOptions{UserInfo: true}}
	if bad := c.decode("login_data."+byKey, raw, &p); bad != nil {
		return nil, bad
	}
	a := c.sim.accountOf(p.APIKey)
	if a == nil || a.key.Username != p.Username {
		return response{"response_type": loginError}, nil
	}
	return c.login(a, p.Options), nil
}

// loginByPassword never succeeds, because the simulated users have keys only.
func loginByPassword(c *call, raw json.RawMessage) (any, error) {
	var p struct {
		Mechanism string       `json:"mechanism" sim:"required"`
		Username  string       `json:"username" sim:"required"`
		Password  string       `json:"password" sim:"required"`
		Options   loginOptions `json:"login_options"`
	}
	if bad := c.decode("login_data."+byPassword, raw, &p); bad != nil {
		return nil, bad
	}
	return response{"response_type": loginError}, nil
}

// response is a response of auth.login_ex.
type response map[string]any

// login logs the session in if the key is valid.
func (c *call) login(a *account, o loginOptions) response {
	if !c.session.peer.secure {
		a.revoked = true
	}
	if a.revoked || a.key.Expired {
		return response{"response_type": loginExpired}
	}
	return c.accept(a, o)
}

// accept logs the session in.
func (c *call) accept(a *account, o loginOptions) response {
	c.session.user, c.session.scram = a, nil
	r := response{"response_type": loginSuccess, "user_info": nil, "authenticator": "LEVEL_1"}
	if o.UserInfo {
		r["user_info"] = a.info()
	}
	if c.release() >= v26 {
		r["reconnect_token"] = nil
		if o.ReconnectToken {
			r["reconnect_token"] = c.sim.newToken(a, tokenLife, c.session.peer.address, true)
		}
	}
	return r
}

// loginWithAPIKey is the older method. It takes no user name, and returns false for an invalid key.
func loginWithAPIKey(c *call) (any, error) {
	var key string
	if err := c.args([]string{"api_key"}, &key); err != nil {
		return nil, err
	}
	a := c.sim.accountOf(key)
	return a != nil && c.login(a, loginOptions{})["response_type"] == loginSuccess, nil
}

// errBadKey refuses an HTTP request with an invalid key or token.
var errBadKey = errors.New("the key or token is not valid")

// keyUser returns the owner of the key of an HTTP request. The caller holds the lock.
func (s *Sim) keyUser(key string, p peer) (*account, error) {
	a := s.accountOf(key)
	if a == nil {
		return nil, errBadKey
	}
	if !p.secure {
		a.revoked = true
	}
	if a.revoked || a.key.Expired {
		return nil, errBadKey
	}
	return a, nil
}

func me(c *call) (any, error) {
	return c.session.user.info(), c.args(nil)
}

func logout(c *call) (any, error) {
	if err := c.args(nil); err != nil {
		return nil, err
	}
	c.session.user = nil
	clear(c.session.subscriptions)
	return true, nil
}
