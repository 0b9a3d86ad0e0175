package sim

import (
	"crypto/pbkdf2"
	"crypto/sha512"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestLoginByKey(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10", "26", "27"} {
		t.Run(release, func(t *testing.T) {
			n := newWire(t, Config{Release: release, Keys: []Key{
				{Username: "svc", APIKey: "7-good", Roles: []string{"VM_WRITE"}},
				{Username: "late", APIKey: "8-good", Expired: true},
			}})
			p := n.dial("/api/current")
			for _, tt := range []struct{ name, user, key, want string }{
				{"a wrong key", "svc", "7-bad", "AUTH_ERR"},
				{"another user's key", "root", "7-good", "AUTH_ERR"},
				{"an expired key", "late", "8-good", "EXPIRED"},
				{"a good key", "svc", "7-good", "SUCCESS"},
			} {
				var got struct {
					Type string `json:"response_type"`
				}
				if err := json.Unmarshal([]byte(p.must("auth.login_ex", plainLogin(tt.user, tt.key))), &got); err != nil || got.Type != tt.want {
					t.Errorf("%s: got %s, want %s", tt.name, got.Type, tt.want)
				}
			}
			if me := p.must("auth.me"); !strings.Contains(me, `"pw_name":"svc"`) || !strings.Contains(me, `{"$set":["VM_WRITE"]}`) {
				t.Errorf("auth.me: %s", me)
			}
			p.must("auth.logout")
			if got := p.fails("auth.me"); got.Data.Error != 207 {
				t.Errorf("after logout: %+v, want errno 207", got)
			}
		})
	}
}

func TestLoginParameters(t *testing.T) {
	p := newWire(t, Config{}).dial("/api/current")
	for _, tt := range []struct {
		name  string
		param any
		want  string
	}{
		{"no user name", map[string]any{"mechanism": "API_KEY_PLAIN", "api_key": "x"}, "login_data.API_KEY_PLAIN.username: Field required"},
		{"an unknown mechanism", map[string]any{"mechanism": "MAGIC"}, "Input tag 'MAGIC'"},
		{"SCRAM before it exists", map[string]any{"mechanism": "SCRAM", "scram_type": "CLIENT_FIRST_MESSAGE", "rfc_str": "x"}, "Input tag 'SCRAM'"},
		{"an unknown parameter", map[string]any{"mechanism": "API_KEY_PLAIN", "username": "a", "api_key": "x", "otp": 1}, "otp: Extra inputs are not permitted"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := p.fails("auth.login_ex", tt.param); got.Code != -32602 || !strings.Contains(got.Data.Reason, tt.want) {
				t.Errorf("got %+v, want %q", got, tt.want)
			}
		})
	}
}

func TestLoginWithAPIKey(t *testing.T) {
	for _, release := range []string{"25.04.2", "25.10", "26"} {
		p := newWire(t, Config{Release: release}).dial("/api/current")
		if got := p.must("auth.login_with_api_key", "1-wrong"); got != "false" {
			t.Errorf("%s: a wrong key: %s", release, got)
		}
		if got := p.must("auth.login_with_api_key", DefaultAPIKey); got != "true" {
			t.Errorf("%s: the valid key: %s", release, got)
		}
	}
	p := newWire(t, Config{Release: "27"}).dial("/api/current")
	if got := p.fails("auth.login_with_api_key", DefaultAPIKey); got.Code != -32601 {
		t.Errorf("27: %+v, want -32601", got)
	}
}

func TestKeySentWithoutTLSIsRevoked(t *testing.T) {
	n := newWire(t, Config{})
	n.PretendRemote("192.0.2.7")
	if got := n.dial("/api/current").must("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey)); !strings.Contains(got, "EXPIRED") {
		t.Errorf("from another host: %s, want EXPIRED", got)
	}
	n.PretendRemote("")
	if got := n.RevokedKeys(); len(got) != 1 || got[0] != "1" {
		t.Errorf("revoked: %v", got)
	}
	if got := n.dial("/api/current").must("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey)); !strings.Contains(got, "EXPIRED") {
		t.Errorf("from loopback afterwards: %s, want EXPIRED", got)
	}

	n = newWire(t, Config{})
	server, config := secure(t, n.Sim)
	n.PretendRemote("192.0.2.7")
	p := dial(t, "wss"+strings.TrimPrefix(server.URL, "https")+"/api/current", config)
	if got := p.must("auth.login_ex", plainLogin(DefaultUser, DefaultAPIKey)); !strings.Contains(got, "SUCCESS") {
		t.Errorf("over TLS: %s, want SUCCESS", got)
	}

	n = newWire(t, Config{})
	n.PretendRemote("192.0.2.7")
	r := must(http.NewRequest(http.MethodPost, "http://"+n.addr+"/_upload", strings.NewReader("")))
	r.Header.Set("Authorization", "Bearer "+DefaultAPIKey)
	if status, _ := n.do(r); status != 401 || len(n.RevokedKeys()) != 1 {
		t.Errorf("an upload without TLS: %d, revoked %v", status, n.RevokedKeys())
	}
}

func TestTokens(t *testing.T) {
	clock := NewStepClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	n := newWire(t, Config{Clock: clock})
	p := n.login()
	make := func(params ...any) string {
		var text string
		if err := json.Unmarshal([]byte(p.must("auth.generate_token", params...)), &text); err != nil {
			t.Fatal(err)
		}
		return text
	}
	long, once, short := make(nil), make(600, map[string]any{}, true, true), make(10)
	use := func(token string) string {
		return n.dial("/api/current").must("auth.login_with_token", token)
	}
	clock.Step(11 * time.Second)
	for _, tt := range []struct{ name, got, want string }{
		{"a reusable token", use(long), "true"},
		{"a reusable token, again", use(long), "true"},
		{"one for a single use", use(once), "true"},
		{"one for a single use, again", use(once), "false"},
		{"an expired token", use(short), "false"},
		{"an unknown token", use("x"), "false"},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, tt.got, tt.want)
		}
	}
	n.RestartMiddleware()
	if got := use(long); got != "false" {
		t.Errorf("after a restart: %s, want false", got)
	}
}

// vector is the worked example of testdata/scram.json.
type vector struct {
	Username    string `json:"username"`
	APIKey      string `json:"api_key"`
	ClientNonce []byte `json:"client_nonce_base64"`
	ServerNonce []byte `json:"server_nonce_base64"`
	Salt        []byte `json:"salt_base64"`
	Iterations  int    `json:"iterations"`
	Exchanges   []struct {
		GS2         string `json:"gs2"`
		Binding     []byte `json:"channel_binding_base64"`
		ClientFirst string `json:"client_first"`
		ServerFirst string `json:"server_first"`
		ClientFinal string `json:"client_final"`
		ServerFinal string `json:"server_final"`
		ClientKey   []byte `json:"client_key_base64"`
		StoredKey   []byte `json:"stored_key_base64"`
		ServerKey   []byte `json:"server_key_base64"`
	} `json:"exchanges"`
}

func TestScramByWorkedExample(t *testing.T) {
	var v vector
	if err := json.Unmarshal(must(os.ReadFile("testdata/scram.json")), &v); err != nil {
		t.Fatal(err)
	}
	a := must(newAccount(Key{Username: v.Username, APIKey: v.APIKey}))
	keys := must(newScramKeys(a.secret, v.Salt, v.Iterations))
	for _, e := range v.Exchanges {
		t.Run(e.GS2, func(t *testing.T) {
			if string(keys.stored) != string(e.StoredKey) || string(keys.server) != string(e.ServerKey) {
				t.Error("the keys differ")
			}
			first, ok := parseScramFirst(e.ClientFirst)
			if !ok || first.username != v.Username || first.keyID != a.id || string(first.nonce) != string(v.ClientNonce) {
				t.Fatalf("the first message was parsed as %+v", first)
			}
			var binding []byte
			if len(e.Binding) > 0 {
				binding = e.Binding
			}
			x := newScramExchange(keys, first, binding, v.ServerNonce)
			if x.serverFirst != e.ServerFirst {
				t.Errorf("server first\n%s, want\n%s", x.serverFirst, e.ServerFirst)
			}
			if got, ok := x.final(e.ClientFinal); !ok || got != e.ServerFinal {
				t.Errorf("server final\n%s, want\n%s", got, e.ServerFinal)
			}
			for _, wrong := range []string{"", "c=biws", strings.Replace(e.ClientFinal, ",p=", ",p=A", 1), strings.Replace(e.ClientFinal, "r=A", "r=B", 1)} {
				if _, ok := x.final(wrong); ok {
					t.Errorf("%q is accepted", wrong)
				}
			}
		})
	}
}

// scramLogin plays the client, and returns the two replies.
func scramLogin(t *testing.T, p *peerConn, gs2 string, binding []byte, secret string) (first, final map[string]any) {
	t.Helper()
	ask := func(kind, message string) map[string]any {
		var answer map[string]any
		raw := p.must("auth.login_ex", map[string]any{"mechanism": "SCRAM", "scram_type": kind, "rfc_str": message})
		if err := json.Unmarshal([]byte(raw), &answer); err != nil {
			t.Fatal(err)
		}
		return answer
	}
	nonce := base64.StdEncoding.EncodeToString([]byte(strings.Repeat("n", 32)))
	bare := "n=" + DefaultUser + ":1,r=" + nonce
	first = ask("CLIENT_FIRST_MESSAGE", gs2+",,"+bare)
	if first["response_type"] != "SCRAM_RESPONSE" {
		return first, nil
	}
	server := first["rfc_str"].(string)
	var combined, salt string
	var iterations int
	part := strings.Split(server, ",")
	combined, salt = strings.TrimPrefix(part[0], "r="), strings.TrimPrefix(part[1], "s=")
	if _, err := fmt.Sscanf(part[2], "i=%d", &iterations); err != nil {
		t.Fatal(err)
	}
	keys := must(newScramKeys(secret, must(base64.StdEncoding.DecodeString(salt)), iterations))
	without := "c=" + base64.StdEncoding.EncodeToString(append([]byte(gs2+",,"), binding...)) + ",r=" + combined
	auth := bare + "," + server + "," + without
	// The proof is the client key combined with the signature. A server never has the client key, so the test derives it again.
	clientKey := clientKeyOf(t, secret, must(base64.StdEncoding.DecodeString(salt)), iterations)
	signature := sign(keys.stored, auth)
	for i := range clientKey {
		clientKey[i] ^= signature[i]
	}
	return first, ask("CLIENT_FINAL_MESSAGE", without+",p="+base64.StdEncoding.EncodeToString(clientKey))
}

func clientKeyOf(t *testing.T, secret string, salt []byte, iterations int) []byte {
	t.Helper()
	return sign(must(pbkdf2.Key(sha512.New, secret, salt, iterations, sha512.Size)), "Client Key")
}

func TestScramLogin(t *testing.T) {
	_, secret, _ := strings.Cut(DefaultAPIKey, "-")
	n := newWire(t, Config{Release: "26"})
	p := n.dial("/api/current")
	if _, final := scramLogin(t, p, "n", nil, secret); final["response_type"] != "SCRAM_RESPONSE" || final["user_info"] == nil {
		t.Errorf("without binding: %v", final)
	}
	p.must("auth.me")

	p = n.dial("/api/current")
	if _, final := scramLogin(t, p, "n", nil, "wrong"); final["response_type"] != "AUTH_ERR" {
		t.Errorf("with a wrong key: %v", final)
	}
	if first, _ := scramLogin(t, p, "y", nil, secret); first["response_type"] != "AUTH_ERR" {
		t.Errorf("a client without a binding: %v", first)
	}

	server, config := secure(t, n.Sim)
	url := "wss" + strings.TrimPrefix(server.URL, "https") + "/api/current"
	p = dial(t, url, config)
	raw := p.conn.NetConn().(*tls.Conn).ConnectionState().PeerCertificates[0].Raw
	bound := must(endPoint(raw))
	if _, final := scramLogin(t, p, "p=tls-server-end-point", bound, secret); final["response_type"] != "SCRAM_RESPONSE" {
		t.Errorf("with binding: %v", final)
	}
	bound[0]++
	if _, final := scramLogin(t, dial(t, url, config), "p=tls-server-end-point", bound, secret); final["response_type"] != "AUTH_ERR" {
		t.Errorf("bound to another certificate: %v", final)
	}
	n.ExpireKey(DefaultUser)
	if _, final := scramLogin(t, n.dial("/api/current"), "n", nil, secret); final["response_type"] != "EXPIRED" {
		t.Errorf("with an expired key: %v", final)
	}
}

func TestMechanisms(t *testing.T) {
	for release, want := range map[string]bool{"25.10": false, "26": true} {
		got := newWire(t, Config{Release: release}).dial("/api/current").must("auth.mechanism_choices")
		if strings.Contains(got, "SCRAM") != want {
			t.Errorf("%s: %s", release, got)
		}
	}
}
