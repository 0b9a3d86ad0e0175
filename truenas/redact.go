package truenas

import (
	"regexp"
	"strings"
)

// tokenPattern finds the credentials of a download in a text.
var tokenPattern = regexp.MustCompile(`auth_token=[^\s&"']+`)

// String leaves the key out, so that a configuration may be printed.
func (c Config) String() string {
	return "truenas.Config{URL: " + redactURL(c.URL) + ", Username: " + c.Username + "}"
}

// GoString is for %#v.
func (c Config) GoString() string { return c.String() }

// redact takes secrets out of what TrueNAS or the network wrote into an error:
// a validation error may repeat what it was sent.
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
