package redfish

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

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

// opens expects a login with the right password to open a session.
func (w *world) opens(name, when string) {
	w.t.Helper()
	if r := w.logIn(name, password); r.status != http.StatusCreated {
		w.t.Errorf("%s: %d %s", when, r.status, r.text)
	}
}

// with is a request of a session.
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
		t.Errorf("another account ends it: %d", r.status)
	}
	if r := w.as("root", http.MethodDelete, place, "", "If-Match", `"other"`); r.status != http.StatusPreconditionFailed || r.message() != "PreconditionFailed" {
		t.Errorf("the end of a session with a wrong ETag: %d %s", r.status, r.text)
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
			t.Fatal("a session that was used is over")
		}
	}
	w.clock.pass(defaultIdle)
	if alive() {
		t.Error("a session that was idle is not over")
	}
	token = w.logIn("root", password).header.Get(headerToken)
	w.accounts("accounts: [{name: root, password_hash: '" + hashed(t, "another password") + "'}]")
	w.clock.pass(recheck)
	if alive() {
		t.Error("a session outlives the password it was opened with")
	}
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusUnauthorized {
		t.Errorf("the old password: %d", r.status)
	}
}

func TestSessionsAreBounded(t *testing.T) {
	w := newWorld(t)
	for range maxAccountSessions {
		w.opens("omni", "a session within the limit")
	}
	if r := w.logIn("omni", password); r.status != http.StatusServiceUnavailable || r.message() != "SessionLimitExceeded" {
		t.Errorf("one more: %d %s", r.status, r.text)
	}
	w.opens("root", "another account")
	w.clock.pass(defaultIdle)
	w.opens("omni", "when the old ones are over")
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

// After some wrong passwords the right one does not help either, until the lock ends.
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
	w.opens("root", "another account")
	w.clock.pass(lockDuration)
	w.opens("omni", "after the lock")
}

// A guesser elsewhere does not lock the owner out, and many of them lock the account.
func TestLockoutByAddress(t *testing.T) {
	w := newWorld(t)
	l := w.service.logins
	guess := func(address string) { l.wrong(l.keys("omni", true, address+":1")) }
	for range lockAddressThreshold {
		guess("192.0.2.1")
	}
	if _, err := l.check(t.Context(), "omni", password, "192.0.2.1:1"); err == nil {
		t.Error("the guesser is not locked out")
	}
	if _, err := l.check(t.Context(), "omni", password, "192.0.2.2:1"); err != nil {
		t.Errorf("the owner elsewhere: %v", err)
	}
	for i := range lockThreshold {
		guess("198.51.100." + string(rune('a'+i%26)) + string(rune('a'+i/26)))
	}
	if !l.isLocked("omni") {
		t.Error("the account is not locked")
	}
	if r := w.as("root", http.MethodGet, pathAccountService+"/Accounts/omni", ""); r.body["Locked"] != true {
		t.Errorf("the account says %s", r.text)
	}
}

// Wrong passwords of any number of addresses and names take bounded memory.
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

// A password that was right is not hashed for each request.
func TestBasicAuthenticationIsFast(t *testing.T) {
	w := newWorld(t)
	w.get("/redfish/v1/Systems")
	for range maxHashing { // Hashing is stopped.
		w.service.logins.hashing <- struct{}{}
	}
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusOK {
		t.Errorf("%d", r.status)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.service.logins.check(ctx, "root", "another one", "192.0.2.1:1"); err == nil {
		t.Error("another password was taken for the proven one")
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
	made, err := HashPassword("a long password")
	if err != nil {
		t.Fatal(err)
	}
	list, err := ParseAccounts([]byte("accounts: [{name: a, password_hash: '" + made + "'}]"))
	if err != nil || list[0].Role != Operator {
		t.Errorf("%v %v", list, err)
	}
	for _, bad := range []string{"", "short", strings.Repeat("x", 73)} {
		if _, err := HashPassword(bad); err == nil {
			t.Errorf("a password of %d bytes was hashed", len(bad))
		}
	}
}

// A file that was broken by an edit leaves the accounts as they were.
func TestBrokenAccountsFile(t *testing.T) {
	w := newWorld(t)
	w.accounts("accounts: [{name: root")
	w.clock.pass(recheck)
	if r := w.get("/redfish/v1/Systems"); r.status != http.StatusOK {
		t.Errorf("%d", r.status)
	}
}
