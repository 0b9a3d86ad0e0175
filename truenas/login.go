package truenas

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
)

const loginMethod = "auth.login_ex"

// A loginReply is the reply of auth.login_ex, for all mechanisms.
type loginReply struct {
	Type     string   `json:"response_type"`
	URLs     []string `json:"urls"`
	Scram    string   `json:"scram_type"`
	RFC      string   `json:"rfc_str"`
	UserInfo *struct {
		Privilege struct {
			Roles wireSet `json:"roles"`
		} `json:"privilege"`
	} `json:"user_info"`
}

// A wireSet is a list, or {"$set": […]}.
type wireSet []string

func (s *wireSet) UnmarshalJSON(data []byte) error {
	var set struct {
		Members []string `json:"$set"`
	}
	if json.Unmarshal(data, &set) == nil && set.Members != nil {
		*s = set.Members
		return nil
	}
	var list []string
	if json.Unmarshal(data, &list) == nil {
		*s = list
	}
	return nil // roles are informative; ignore an unknown form
}

// loginCalls is the share of a login in the login rate limit.
func loginCalls(scram bool) int {
	if scram {
		return 2
	}
	return 1
}

// login logs the link in. The release and a setting decide the mechanism. The server's list of
// mechanisms is not authenticated, so it cannot make the client send a plain key.
func (s *session) login(l *link, deadline time.Time, scram bool) error {
	var reply loginReply
	var err error
	if scram {
		reply, err = s.loginScram(l, deadline)
	} else {
		reply, err = s.ask(l, deadline, map[string]any{
			"mechanism": "API_KEY_PLAIN", "username": s.cfg.Username, "api_key": s.cfg.APIKey,
		})
		if err == nil && reply.Type != "SUCCESS" {
			err = refusal(reply)
		}
	}
	if err != nil {
		return err
	}
	if reply.UserInfo != nil {
		l.roles = reply.UserInfo.Privilege.Roles
	}
	return nil
}

// ask calls auth.login_ex once.
func (s *session) ask(l *link, deadline time.Time, data map[string]any) (loginReply, error) {
	call := &opening{method: loginMethod, params: []any{data}}
	if err := l.exchange(deadline, call); err != nil {
		return loginReply{}, unavailable("connection lost during login: "+err.Error(), err)
	}
	if call.err != nil {
		return loginReply{}, s.loginError(call.err)
	}
	var reply loginReply
	if err := json.Unmarshal(call.result, &reply); err != nil {
		return loginReply{}, fmt.Errorf("%s: unexpected result: %w", loginMethod, err)
	}
	return reply, nil
}

// loginError marks errors other than busy and unavailable as failed logins, which are not retried
// soon.
func (s *session) loginError(e *Error) error {
	s.redact(e)
	if kind := e.Kind(); kind != ErrBusy && kind != ErrUnavailable {
		e.kind = ErrAuth
	}
	return e
}

// refusals explain what the operator can do.
var refusals = map[string]string{
	"AUTH_ERR":     "wrong user name or API key, or the key was revoked",
	"EXPIRED":      "the API key has expired",
	"DENIED":       "the user may not log in",
	"OTP_REQUIRED": "the user has two-factor authentication, which does not work with API keys",
}

func refusal(reply loginReply) error {
	if reply.Type == "REDIRECT" {
		return unavailable("this is the standby controller; the active one is at "+strings.Join(reply.URLs, ", "), nil)
	}
	text := refusals[reply.Type]
	if text == "" {
		text = "TrueNAS returned " + reply.Type
	}
	return &Error{Method: loginMethod, Reason: text, kind: ErrAuth}
}

// loginScram proves knowledge of the key without sending it, and verifies the server's proof.
func (s *session) loginScram(l *link, deadline time.Time) (loginReply, error) {
	exchange, err := newScram(s.cfg.Username, s.cfg.APIKey, endPoint(l.certificate()))
	if err != nil {
		return loginReply{}, err
	}
	send := func(kind, text, wanted string) (loginReply, error) {
		reply, err := s.ask(l, deadline, map[string]any{"mechanism": "SCRAM", "scram_type": kind, "rfc_str": text})
		if err == nil && (reply.Type != "SCRAM_RESPONSE" || reply.Scram != wanted) {
			err = refusal(reply)
		}
		return reply, err
	}
	first, err := send("CLIENT_FIRST_MESSAGE", exchange.first(), "SERVER_FIRST_RESPONSE")
	if err != nil {
		return loginReply{}, err
	}
	proof, err := exchange.final(first.RFC, s.keys)
	if err != nil {
		return loginReply{}, err
	}
	last, err := send("CLIENT_FINAL_MESSAGE", proof, "SERVER_FINAL_RESPONSE")
	if err != nil {
		return loginReply{}, err
	}
	return last, exchange.verify(last.RFC)
}

// newerOnce warns once per version that the NAS is newer than this package.
func (s *session) newerOnce(c choice) {
	if s.newer != c.newer {
		s.newer = c.newer
		s.cfg.Logger.Warn("TrueNAS is newer than the supported releases; using an older version of its API",
			zap.String("newest", c.newer), zap.String("used", c.path))
	}
}
