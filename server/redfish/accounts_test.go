package redfish

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The limits of an accounts file, from both sides.
func TestLimitsOfAccounts(t *testing.T) {
	hash := hashedOnce()
	many := func(n int) string {
		text := "accounts:\n"
		for i := range n {
			text += fmt.Sprintf("- {name: a%d, password_hash: '%s'}\n", i, hash)
		}
		return text
	}
	cost := func(n int) string {
		return "accounts: [{name: a, password_hash: '" + strings.Replace(hash, "$10$", fmt.Sprintf("$%02d$", n), 1) + "'}]"
	}
	named := func(name string) string { return "accounts: [{name: '" + name + "', password_hash: '" + hash + "'}]" }
	for _, tt := range []struct{ name, text, want string }{
		{"256 accounts", many(maxAccounts), ""},
		{"257 accounts", many(maxAccounts + 1), "257 given; 1 to 256 are allowed"},
		{"a cost of 9", cost(9), "has cost 9; allowed are 10 to 14"},
		{"a cost of 10", cost(10), ""},
		{"a cost of 14", cost(14), ""},
		{"a cost of 15", cost(15), "has cost 15; allowed are 10 to 14"},
		{"a name of 64 characters", named(strings.Repeat("x", 64)), ""},
		{"a name of 65 characters", named(strings.Repeat("x", 65)), "name: must be 1 to 64"},
		{"an address", named("ops@example.com"), ""},
		{"two mistakes", "accounts: [{name: a, role: King, password_hash: '" + hash + "'}, {name: b, password_hash: x}]", "accounts[0]: role of \"a\": \"King\""},
		{"the second of them", "accounts: [{name: a, role: King, password_hash: '" + hash + "'}, {name: b, password_hash: x}]", "accounts[1]: password_hash of \"b\""},
		{"a duplicate of a mistake", "accounts: [{name: a, password_hash: x}, {name: a, password_hash: '" + hash + "'}]", "accounts[1].name: \"a\" is given twice"},
	} {
		_, err := ParseAccounts([]byte(tt.text))
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	for n, ok := range map[int]bool{minPassword - 1: false, maxPassword: true, maxPassword + 1: false} {
		if _, err := HashPassword(strings.Repeat("x", n)); (err == nil) != ok {
			t.Errorf("a password of %d bytes: %v", n, err)
		}
	}
}

// A service does not start without its accounts, or with a session timeout that the standard does not allow.
func TestMistakesOfTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	good, large := filepath.Join(dir, "good"), filepath.Join(dir, "large")
	text := "accounts: [{name: a, password_hash: '" + hashedOnce() + "'}]\n"
	for name, content := range map[string]string{good: text, large: text + strings.Repeat("#", maxAccountsFile)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		name, accounts string
		timeout        time.Duration
		want           string
	}{
		{"the default", good, 0, ""},
		{"the shortest", good, 30 * time.Second, ""},
		{"too short", good, 30*time.Second - 1, "allowed are 30s to 24h0m0s"},
		{"the longest", good, 24 * time.Hour, ""},
		{"too long", good, 24*time.Hour + 1, "allowed are 30s to 24h0m0s"},
		{"no file", filepath.Join(dir, "absent"), 0, "accounts: stat " + dir},
		{"a folder", dir, 0, "accounts: read " + dir},
		{"a large file", large, 0, fmt.Sprintf("accounts: %s has %d bytes; at most 1048576 are allowed", large, len(text)+maxAccountsFile)},
	} {
		_, err := New(Config{Provider: newBackend(), Accounts: tt.accounts, SessionTimeout: tt.timeout})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// An invalid accounts file is reported once for each mistake, and again when it returns after a repair.
func TestInvalidAccountsFileIsReportedOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "accounts.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	good := "accounts: [{name: a, password_hash: '" + hashedOnce() + "'}]"
	write(good)
	core, log := observer.New(zap.WarnLevel)
	clock := &clock{now: time.Unix(1e9, 0)}
	a, err := openAccounts(file, zap.New(core), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	for i, tt := range []struct {
		text string
		pass time.Duration
		want int // lines in the log
	}{
		{"accounts: 3", recheck - 1, 0}, {"accounts: 3", 1, 1}, {"accounts: 3", recheck, 1}, {"", recheck, 2}, {good, recheck, 2}, {"", recheck, 3},
	} {
		write(tt.text)
		clock.pass(tt.pass)
		if list := a.all(); len(list) != 1 || list[0].Name != "a" || log.Len() != tt.want {
			t.Errorf("step %d: the accounts are %v, and the log has %d lines, want %d", i, list, log.Len(), tt.want)
		}
	}
}

// An account that names systems sees only these, each by its name, its id or its namespace and name.
func TestAccountSees(t *testing.T) {
	vm := &providerv1.VMInfo{Id: webID, Name: "web-1", ProviderRaw: map[string]string{"managed": "true", "owner_namespace": "default"}}
	byHand := &providerv1.VMInfo{Id: handID, Name: "by-hand", ProviderRaw: map[string]string{"managed": "false"}}
	for _, tt := range []struct {
		systems    []string
		vm, byHand bool
	}{
		{nil, true, false},
		{[]string{"web-1"}, true, false},
		{[]string{webID}, true, false},
		{[]string{"default/web-1"}, true, false},
		{[]string{"other/web-1"}, false, false},
		{[]string{"web"}, false, false},
		{[]string{"x", "by-hand"}, false, true},
	} {
		a := Account{Systems: tt.systems}
		if a.sees(vm) != tt.vm || a.sees(byHand) != tt.byHand {
			t.Errorf("%q: sees its own %t, and that of others %t", tt.systems, a.sees(vm), a.sees(byHand))
		}
	}
}

// loginsOf makes the logins of one account with the hash of a password.
func loginsOf(t *testing.T, hash string) (*logins, *clock) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "accounts.yaml")
	if err := os.WriteFile(file, []byte("accounts: [{name: omni, password_hash: '"+hash+"'}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	clock := &clock{now: time.Unix(1e9, 0)}
	a, err := openAccounts(file, zap.NewNop(), clock.Now)
	if err != nil {
		t.Fatal(err)
	}
	return newLogins(a, clock.Now), clock
}

// bcrypt reads 72 bytes. A longer password that begins like the right one is a wrong one.
func TestPasswordsAreComparedAsAWhole(t *testing.T) {
	long := strings.Repeat("x", maxPassword)
	l, _ := loginsOf(t, hashed(t, long))
	for password, ok := range map[string]bool{long + "y": false, long[1:]: false, long: true} {
		if _, err := l.check(t.Context(), "omni", password, "192.0.2.1:1"); (err == nil) != ok {
			t.Errorf("a password of %d bytes: %v", len(password), err)
		}
	}
}

// A password that was right is hashed again after a while.
func TestProofsEnd(t *testing.T) {
	l, clock := loginsOf(t, hashedOnce())
	if _, err := l.check(t.Context(), "omni", password, "192.0.2.1:1"); err != nil {
		t.Fatal(err)
	}
	if other := newLogins(l.accounts, clock.Now); l.fingerprint(Account{}, "") == other.fingerprint(Account{}, "") {
		t.Error("another process recognizes the fingerprints of this one")
	}
	for range maxHashing { // Hashing is stopped.
		l.hashing <- struct{}{}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, tt := range []struct {
		pass time.Duration
		ok   bool
	}{{provenFor - 1, true}, {1, false}} {
		clock.pass(tt.pass)
		_, err := l.check(ctx, "omni", password, "192.0.2.1:1")
		if (err == nil) != tt.ok {
			t.Errorf("after another %v: %v", tt.pass, err)
		}
		if f, _ := err.(*fault); err != nil && f.status() != http.StatusServiceUnavailable { //nolint:errorlint // check returns a fault.
			t.Errorf("a login without its turn: %v", err)
		}
	}
}

// A password that waits for its turn while others lock the account is not compared.
func TestLockWhileAPasswordWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, _ := loginsOf(t, hashedOnce())
		for range maxHashing {
			l.hashing <- struct{}{}
		}
		answer := make(chan error, 1)
		go func() {
			_, err := l.check(t.Context(), "omni", password, "192.0.2.1:1")
			answer <- err
		}()
		synctest.Wait()
		for range lockAddressThreshold {
			l.wrong(l.keys("omni", true, "192.0.2.1:2"))
		}
		<-l.hashing
		if err := <-answer; err == nil {
			t.Error("the password was compared")
		}
	})
}

// Wrong passwords count together when they follow each other, and a right one or a pause ends the count.
func TestWrongPasswordsAreCounted(t *testing.T) {
	for _, tt := range []struct {
		name   string
		pause  func(*logins, *clock)
		locked bool
	}{
		{"no pause", func(*logins, *clock) {}, true},
		{"a short pause", func(_ *logins, c *clock) { c.pass(lockCounterReset) }, true},
		{"a long pause", func(_ *logins, c *clock) { c.pass(lockCounterReset + 1) }, false},
		{"a right password", func(l *logins, _ *clock) { l.right(l.keys("omni", true, "192.0.2.1:1"), "omni", "") }, false},
	} {
		l, clock := loginsOf(t, hashedOnce())
		keys := l.keys("omni", true, "192.0.2.1") // Without a port, it counts for the same address.
		for range lockAddressThreshold - 1 {
			l.wrong(l.keys("omni", true, "192.0.2.1:1"))
		}
		if l.locked(keys) {
			t.Errorf("%s: locked too early", tt.name)
		}
		tt.pause(l, clock)
		l.wrong(keys)
		if l.locked(keys) != tt.locked || l.isLocked("omni") {
			t.Errorf("%s: locked %t, as a whole %t", tt.name, l.locked(keys), l.isLocked("omni"))
		}
		if !tt.locked {
			continue
		}
		clock.pass(lockDuration - 1)
		if !l.locked(keys) {
			t.Errorf("%s: the lock ends early", tt.name)
		}
		clock.pass(1)
		l.wrong(keys) // The count begins again.
		if l.locked(keys) {
			t.Errorf("%s: the lock does not end", tt.name)
		}
	}
}

// When too many names and addresses are remembered, those whose time is over go first, then the oldest.
func TestOldFailuresAreForgottenFirst(t *testing.T) {
	l, clock := loginsOf(t, hashedOnce())
	fill := func(n int) {
		for i := range n {
			l.wrong([]lockKey{{fmt.Sprint(i, clock.Now()), 2}})
		}
	}
	lock := []lockKey{{"a guesser", 1}}
	fill(maxLocks)
	clock.pass(lockCounterReset + 1)
	l.wrong(lock)
	if len(l.failed) != 1 {
		t.Errorf("%d are remembered although their time is over", len(l.failed))
	}
	first := []lockKey{{"the oldest", 1}}
	clear(l.failed)
	l.wrong(first)
	clock.pass(time.Second)
	l.wrong(lock)
	clock.pass(time.Second)
	fill(maxLocks - 1)
	if l.locked(first) || !l.locked(lock) || len(l.failed) != maxLocks {
		t.Errorf("the oldest is locked %t, a later one %t; %d are remembered", l.locked(first), l.locked(lock), len(l.failed))
	}
}

// The roles have the standard privileges. An account without the right to configure users sees itself only.
func TestRolesAndAccounts(t *testing.T) {
	w := newWorld(t)
	for role, want := range map[string][]any{
		"Administrator": {"Login", "ConfigureManager", "ConfigureUsers", "ConfigureComponents", "ConfigureSelf"},
		"Operator":      {"Login", "ConfigureComponents", "ConfigureSelf"},
		"ReadOnly":      {"Login", "ConfigureSelf"},
	} {
		r := w.get(pathAccountService + "/Roles/" + role)
		if got, _ := r.body["AssignedPrivileges"].([]any); !slices.Equal(got, want) || r.body["RoleId"] != role || r.body["IsPredefined"] != true {
			t.Errorf("%s: %s", role, r.text)
		}
	}
	for account, n := range map[string]float64{"root": 3, "omni": 1, "eve": 1} {
		if r := w.as(account, http.MethodGet, pathAccountService+"/Accounts", ""); r.body["Members@odata.count"] != n {
			t.Errorf("%s sees %s", account, r.text)
		}
		r := w.as(account, http.MethodGet, pathAccountService+"/Accounts/"+account, "")
		if r.status != http.StatusOK || r.body["UserName"] != account || r.body["Locked"] != false || r.body["Password"] != nil {
			t.Errorf("%s: %d %s", account, r.status, r.text)
		}
	}
	for _, path := range []string{
		pathAccountService + "/Accounts/root", pathAccountService + "/Accounts/absent", pathAccountService + "/Roles/King",
		"/redfish/v1/Registries/Base.0", "/redfish/v1/JsonSchemas/Toaster.v1_0_0", "/redfish/v1//Systems", "/redfish/v1/Systems/x/y",
	} {
		if r := w.as("eve", http.MethodGet, path, ""); r.status != http.StatusNotFound || r.message() != "ResourceMissingAtURI" {
			t.Errorf("%s: %d %s", path, r.status, r.text)
		}
	}
}
