package sim

import (
	"bytes"
	"encoding/json"
	"io"
	"regexp"
	"strings"
	"sync"
)

// transcript writes one JSON line per finished call and job, for checks against TrueNAS's published models. It replaces secrets
// by a text of the same type.
type transcript struct {
	release string
	keys    *strings.Replacer // removes the keys from all texts
	mu      sync.Mutex
	w       io.Writer
}

// newTranscript writes to w, or nowhere if w is nil.
func newTranscript(w io.Writer, release string, keys []Key) *transcript {
	var pairs []string
	for _, k := range keys {
		_, secret, _ := strings.Cut(k.APIKey, "-")
		for _, text := range []string{k.APIKey, secret} {
			if text != "" {
				pairs = append(pairs, text, mask)
			}
		}
	}
	return &transcript{release: release, w: w, keys: strings.NewReplacer(pairs...)}
}

// line is a line of the transcript. A finished job has a job_result; the other fields are those of a call.
type line struct {
	Release   string            `json:"release"`
	Method    string            `json:"method"`
	Params    []json.RawMessage `json:"params,omitempty"`
	Result    json.RawMessage   `json:"result,omitempty"`
	Error     *CallError        `json:"error,omitempty"`
	JobResult json.RawMessage   `json:"job_result,omitempty"`
}

// call records a finished call.
func (t *transcript) call(r request, result json.RawMessage, err *CallError) {
	if t.w == nil {
		return
	}
	l := line{Method: r.method, Error: err}
	for _, p := range r.params {
		l.Params = append(l.Params, masked(r.method, p))
	}
	if err == nil {
		l.Result = masked(r.method, result)
	}
	t.write(l)
}

// job records a job in its final state. An aborted job has no result to check.
func (t *transcript) job(j *job) {
	switch {
	case t.w == nil || j.state == jobAborted:
	case j.err != nil:
		t.write(line{Method: j.call.method, Error: onWire(j.err)})
	default:
		t.write(line{Method: j.call.method, JobResult: masked(j.call.method, j.result)})
	}
}

// write adds a line. It ignores a failed write, which is up to the owner of the writer.
func (t *transcript) write(l line) {
	l.Release = t.release
	b, err := json.Marshal(l)
	if err != nil {
		return
	}
	text := downloadToken.ReplaceAllString(t.keys.Replace(string(b)), "auth_token="+mask)
	t.mu.Lock()
	defer t.mu.Unlock()
	_, _ = t.w.Write([]byte(text + "\n"))
}

// downloadToken matches the credential in the URL of a download.
var downloadToken = regexp.MustCompile(`auth_token=[A-Za-z0-9_-]+`)

// mask replaces a secret. It is a string, so it still fits the models.
const mask = "xxx"

// secret reports whether a member of an object contains a secret.
func secret(key string) bool {
	switch key {
	case "api_key", "password", "passphrase", "token", "otp_token", "rfc_str", "reconnect_token":
		return true
	}
	return false
}

// masked replaces the secrets in a value: all texts of methods that take or return only secrets, and secret members everywhere.
func masked(method string, raw json.RawMessage) json.RawMessage {
	switch method {
	case "auth.login_with_api_key", "auth.login_with_token", "auth.generate_token", "auth.login":
		if len(raw) > 0 && raw[0] == '"' {
			return json.RawMessage(`"` + mask + `"`)
		}
	case "core.download":
		if i := bytes.Index(raw, []byte("auth_token=")); i >= 0 {
			return append(bytes.Clone(raw[:i]), `auth_token=`+mask+`"]`...)
		}
	}
	if !mayHoldSecret(raw) {
		return raw
	}
	var v any
	if json.Unmarshal(raw, &v) != nil {
		return raw
	}
	out, err := json.Marshal(maskedValue(v))
	if err != nil {
		return json.RawMessage("null")
	}
	return out
}

// mayHoldSecret is a fast test that saves most values the slow one.
func mayHoldSecret(raw []byte) bool {
	for _, word := range []string{`api_key"`, `pass`, `token"`, `rfc_str"`} {
		if bytes.Contains(raw, []byte(word)) {
			return true
		}
	}
	return false
}

func maskedValue(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if _, text := member.(string); text && secret(key) {
				v[key] = mask
				continue
			}
			v[key] = maskedValue(member)
		}
	case []any:
		for i := range v {
			v[i] = maskedValue(v[i])
		}
	}
	return v
}
