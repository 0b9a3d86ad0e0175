package truenas

import (
	"regexp"
	"strings"
)

// tokenPattern matches the credentials of a download.
var tokenPattern = regexp.MustCompile(`auth_token=[^\s&"']+`)

// String omits the key, so that a configuration may be printed.
func (c Config) String() string {
	return "truenas.Config{URL: " + redactURL(c.URL) + ", Username: " + c.Username + "}"
}

// GoString implements %#v.
func (c Config) GoString() string { return c.String() }

// redact removes secrets from texts of TrueNAS and the network: a validation error may repeat its
// input.
func (s *session) redact(e *Error) {
	e.Reason = s.clean(e.Reason)
	for i := range e.Fields {
		e.Fields[i].Message = s.clean(e.Fields[i].Message)
	}
}

func (s *session) clean(text string) string {
	text = strings.ReplaceAll(text, s.cfg.APIKey, "[redacted]")
	if _, secret, ok := strings.Cut(s.cfg.APIKey, "-"); ok && secret != "" {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return tokenPattern.ReplaceAllString(text, "auth_token=[redacted]")
}
