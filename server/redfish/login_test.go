package redfish

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"
	"google.golang.org/grpc"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

type counting struct {
	*backend
	n int
}

func (c *counting) ListVMs(ctx context.Context, req *providerv1.ListVMsRequest, opts ...grpc.CallOption) (*providerv1.ListVMsResponse, error) {
	c.n++
	return c.backend.ListVMs(ctx, req, opts...)
}

func (w *world) logIn(name, password string) reply {
	w.t.Helper()
	return w.as("", http.MethodPost, pathSessions, `{"UserName":"`+name+`","Password":"`+password+`"}`)
}

// expectSession requires that a login with the correct password opens a session.
func (w *world) expectSession(name, when string) {
	w.t.Helper()
	if r := w.logIn(name, password); r.status != http.StatusCreated {
		w.t.Errorf("%s: %d %s", when, r.status, r.text)
	}
}

// with sends a request with the token of a session.
func (w *world) with(token, method, path string) reply {
	w.t.Helper()
	return w.as("", method, path, "", headerToken, token)
}

func TestSession(t *testing.T) {
	w := newWorld(t)
	r := w.logIn("omni", password)
	token, place := r.header.Get(headerToken), r.header.Get("Location")
	if r.status != http.StatusCreated || token == "" || r.body["@odata.id"] != place || r.body["UserName"] != "omni" || strings.Contains(r.text, token) {
		t.Fatalf("%d %v %s", r.status, r.header, r.text)
	}
	if r := w.with(token, http.MethodGet, "/redfish/v1/Systems/"+webID); r.status != http.StatusOK {
		t.Errorf("with the token: %d", r.status)
	}
	if r := w.with(token, http.MethodGet, place); r.status != http.StatusOK || r.body["Password"] != nil {
		t.Errorf("the session: %d %s", r.status, r.text)
	}
	if r := w.as("eve", http.MethodDelete, place, ""); r.status != http.StatusNotFound {
		t.Errorf("end of the session by another account: %d", r.status)
	}
	if r := w.as("root", http.MethodDelete, place, "", "If-Match", `"other"`); r.status != http.StatusPreconditionFailed || r.message() != "PreconditionFailed" {
		t.Errorf("end of a session with a wrong ETag: %d %s", r.status, r.text)
	}
	if r := w.with(token, http.MethodDelete, place); r.status != http.StatusNoContent {
		t.Errorf("logout: %d %s", r.status, r.text)
	}
	if r := w.with(token, http.MethodGet, "/redfish/v1/Systems"); r.status != http.StatusUnauthorized {
		t.Errorf("after the logout: %d", r.status)
	}
	if r := w.as("", http.MethodPost, pathSessions+"/Members", `{"UserName":"omni","Password":"`+password+`"}`); r.status != http.StatusCreated {
		t.Errorf("a login at Members: %d", r.status)
	}
}

func TestSessionsEnd(t *testing.T) {
	w := newWorld(t)
	token := w.logIn("root", password).header.Get(headerToken)
	alive := func() bool { return w.with(token, http.MethodGet, "/redfish/v1/Systems").status == http.StatusOK }
	for range 3 {
		w.clock.pass(defaultIdle - time.Second)
		if !alive() {
			t.Fatal("an active session has expired")
		}
	}
	w.clock.pass(defaultIdle)
	if alive() {
		t.Error("an idle session has not expired")
	}
	token = w.logIn("root", password).header.Get(headerToken)
	w.accounts("accounts: [{name: root, password_hash: '" + hashed(t, "another password") + "'}]")
	w.clock.pass(recheck)
	if alive() {
		t.Error("a session outlives its password")
	}
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusUnauthorized {
		t.Errorf("the old password: %d", r.status)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	w := newWorld(t)
	for range maxAccountSessions {
		w.expectSession("omni", "a session within the limit")
	}
	if r := w.logIn("omni", password); r.status != http.StatusServiceUnavailable || r.message() != "SessionLimitExceeded" {
		t.Errorf("one more: %d %s", r.status, r.text)
	}
	w.expectSession("root", "another account")
	w.clock.pass(defaultIdle)
	w.expectSession("omni", "when the old ones are over")
}

func TestLoginBodies(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct{ body, message string }{
		{``, "MalformedJSON"},
		{`[]`, "MalformedJSON"},
		{`{"UserName":"root"`, "MalformedJSON"},
		{`{"UserName":"root"} {}`, "MalformedJSON"},
		{`{"UserName":"root"}`, "PropertyMissing"},
		{`{"UserName":"root","Password":1}`, "PropertyValueTypeError"},
		{`{"UserName":"root","Password":"secret-word","Colour":"red"}`, "PropertyUnknown"},
		{`{"UserName":"root","UserName":"omni","Password":"secret-word"}`, "PropertyDuplicate"},
		{`{"UserName":"root","Password":"secret-word"}`, "NoValidSession"},
		{`{"UserName":"stranger","Password":"secret-word"}`, "NoValidSession"},
		{strings.Repeat(`{"a":`, 100), "MalformedJSON"},
	} {
		r := w.as("", http.MethodPost, pathSessions, tt.body)
		if r.status < 400 || r.message() != tt.message || strings.Contains(r.text, "secret-word") {
			t.Errorf("%s: %d %s", tt.body, r.status, r.text)
		}
	}
	if r := w.as("", http.MethodPost, pathSessions, `{"UserName":"`+strings.Repeat("x", maxBody)+`"}`); r.status != http.StatusRequestEntityTooLarge {
		t.Errorf("a large body: %d", r.status)
	}
	if r := w.as("", http.MethodPost, pathSessions, `x=1`, "Content-Type", "application/x-www-form-urlencoded"); r.status != http.StatusUnsupportedMediaType {
		t.Errorf("a form: %d", r.status)
	}
}

// After some wrong passwords the correct one is refused too, until the lock ends.
func TestLockout(t *testing.T) {
	w := newWorld(t)
	for range lockAddressThreshold {
		if r := w.logIn("omni", "wrong password"); r.status != http.StatusUnauthorized {
			t.Fatal(r.status)
		}
	}
	if r := w.logIn("omni", password); r.status != http.StatusUnauthorized || r.message() != "NoValidSession" {
		t.Errorf("the right password while locked: %d %s", r.status, r.text)
	}
	w.expectSession("root", "another account")
	w.clock.pass(lockDuration)
	w.expectSession("omni", "after the lock")
}

// Wrong passwords from one address do not lock out the owner. Those from many addresses lock the account.
func TestLockoutByAddress(t *testing.T) {
	w := newWorld(t)
	l := w.service.logins
	guess := func(address string) { l.wrong(l.keys("omni", true, address+":1")) }
	for range lockAddressThreshold {
		guess("192.0.2.1")
	}
	if _, err := l.check(t.Context(), "omni", password, "192.0.2.1:1"); err == nil {
		t.Error("the attacker is not locked out")
	}
	if _, err := l.check(t.Context(), "omni", password, "192.0.2.2:1"); err != nil {
		t.Errorf("the owner at another address: %v", err)
	}
	for i := range lockThreshold {
		guess("198.51.100." + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if !l.isLocked("omni") {
		t.Error("the account is not locked")
	}
	if r := w.as("root", http.MethodGet, pathAccountService+"/Accounts/omni", ""); r.body["Locked"] != true {
		t.Errorf("the account reports %s", r.text)
	}
}

// Wrong passwords from any number of addresses and for any number of names take bounded memory.
func TestLocksAreBounded(t *testing.T) {
	w := newWorld(t)
	l := w.service.logins
	for i := range maxLocks + 100 {
		l.wrong(l.keys("x", false, "host"+string(rune('a'+i%26))+time.Duration(i).String()))
	}
	if len(l.failed) > maxLocks {
		t.Errorf("%d are remembered", len(l.failed))
	}
}

// A proven password is not hashed for each request.
func TestBasicAuthenticationIsFast(t *testing.T) {
	w := newWorld(t)
	w.get("/redfish/v1/Systems")
	for range maxHashing { // No further password can be hashed.
		w.service.logins.hashing <- struct{}{}
	}
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusOK {
		t.Errorf("%d", r.status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.service.logins.check(ctx, "root", "another one", "192.0.2.1:1"); err == nil {
		t.Error("another password was accepted as the proven one")
	}
}

func TestAccountsFile(t *testing.T) {
	hash := hashed(t, password)
	weak := strings.Replace(hash, "$10$", "$04$", 1)
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "1 to 256"},
		{"no list", "accounts: 3", "not a list"},
		{"unknown field", "accounts: [{name: a, pasword: x}]", "not a list"},
		{"no hash", "accounts: [{name: a}]", "not a bcrypt hash"},
		{"a password", "accounts: [{name: a, password_hash: hunter2hunter2}]", "not a bcrypt hash"},
		{"weak", "accounts: [{name: a, password_hash: '" + weak + "'}]", "has cost 4"},
		{"role", "accounts: [{name: a, role: King, password_hash: '" + hash + "'}]", `"King"`},
		{"name", "accounts: [{name: 'a:b', password_hash: '" + hash + "'}]", "name: must be"},
		{"twice", "accounts: [{name: a, password_hash: '" + hash + "'}, {name: a, password_hash: '" + hash + "'}]", "given twice"},
		{"system", "accounts: [{name: a, systems: [''], password_hash: '" + hash + "'}]", "empty name"},
	} {
		_, err := ParseAccounts([]byte(tt.text))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	made, err := HashPassword(strings.Repeat("x", minPassword))
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseAccounts([]byte("accounts: [{name: a, password_hash: '" + made + "'}]"))
	if err != nil || list[0].Role != Operator {
		t.Errorf("%v %v", list, err)
	}
	if cost, err := bcrypt.Cost([]byte(made)); err != nil || cost != 12 {
		t.Errorf("the hash has cost %d, %v", cost, err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 73)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("a password of %d bytes was hashed", len(bad))
		}
	}
}

// After an edit that breaks the file, the previous accounts stay in effect.
func TestBrokenAccountsFile(t *testing.T) {
	w := newWorld(t)
	w.accounts("accounts: [{name: root")
	w.clock.pass(recheck)
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusOK {
		t.Errorf("%d", r.status)
	}
}
