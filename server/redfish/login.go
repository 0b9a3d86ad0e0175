package redfish

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

// The limits of wrong passwords: for an account, and for an account from one address. The second limit stops a single guesser
// without locking out the owner; the first one stops many guessers.
const (
	lockThreshold        = 50
	lockAddressThreshold = 5
	lockDuration         = 5 * time.Minute
	lockCounterReset     = 5 * time.Minute
	maxLocks             = 4096 // remembered names and addresses
)

// provenFor is how long a correct password is not hashed again. Clients with basic authentication send it with each request, and a
// hash takes a quarter of a second.
const provenFor = 5 * time.Minute

// maxHashing bounds the concurrent hashes.
const maxHashing = 2

// logins checks passwords.
type logins struct {
	accounts *accounts
	now      func() time.Time
	hashing  chan struct{}
	key      []byte // the key of the fingerprints of proven passwords

	mu     sync.Mutex
	proven map[string]proof // by account name
	failed map[string]*failures
}

type proof struct {
	fingerprint string
	until       time.Time
}

type failures struct {
	count int
	last  time.Time
	until time.Time // when the lock ends
}

func newLogins(a *accounts, now func() time.Time) *logins {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // It never fails.
	return &logins{accounts: a, now: now, hashing: make(chan struct{}, maxHashing), key: key, proven: map[string]proof{}, failed: map[string]*failures{}}
}

// unknown is the hash for the check of an unknown name, so that the check takes as long as that of a known name.
var unknown = []byte("$2a$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW")

// check returns the account of a name and a password, or a fault. A locked account gets the response of a wrong password.
func (l *logins) check(ctx context.Context, name, password, remote string) (Account, error) {
	account, known := l.accounts.named(name)
	denied := fail(msgNoValidSession)
	fingerprint := l.fingerprint(account, password)
	if known && l.isProven(name, fingerprint) {
		return account, nil
	}
	keys := l.keys(name, known, remote)
	if l.locked(keys) {
		return Account{}, denied
	}
	select {
	case l.hashing <- struct{}{}:
		defer func() { <-l.hashing }()
	case <-ctx.Done():
		return Account{}, fail(msgUnavailable, "5")
	}
	if l.locked(keys) { // by the logins ahead in the queue
		return Account{}, denied
	}
	hash := unknown
	if known {
		hash = []byte(account.PasswordHash)
	}
	if err := bcrypt.CompareHashAndPassword(hash, []byte(password)); err != nil || !known || len(password) > maxPassword {
		l.wrong(keys)
		return Account{}, denied
	}
	l.right(keys, name, fingerprint)
	return account, nil
}

// fingerprint identifies a password and its hash until the next restart.
func (l *logins) fingerprint(a Account, password string) string {
	mac := hmac.New(sha256.New, l.key)
	_, _ = mac.Write([]byte(a.Name + "\x00" + a.PasswordHash + "\x00" + password))
	return string(mac.Sum(nil))
}

func (l *logins) isProven(name, fingerprint string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.proven[name]
	return ok && l.now().Before(p.until) && hmac.Equal([]byte(p.fingerprint), []byte(fingerprint))
}

// lockKey is a name or an address with a count of wrong passwords, and its limit.
type lockKey struct {
	key       string
	threshold int
}

// keys returns the lock keys of a login. All unknown names from one address share a key, so that guessed names fill no memory.
func (l *logins) keys(name string, known bool, remote string) []lockKey {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		host = remote
	}
	if !known {
		return []lockKey{{"\x00" + host, lockAddressThreshold}}
	}
	return []lockKey{{name + "\x00" + host, lockAddressThreshold}, {name, lockThreshold}}
}

func (l *logins) locked(keys []lockKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		if f := l.failed[k.key]; f != nil && l.now().Before(f.until) {
			return true
		}
	}
	return false
}

func (l *logins) wrong(keys []lockKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	for _, k := range keys {
		f := l.failed[k.key]
		if f == nil {
			l.evict(now)
			f = &failures{}
			l.failed[k.key] = f
		}
		if now.Sub(f.last) > lockCounterReset {
			f.count = 0
		}
		f.count, f.last = f.count+1, now
		if f.count >= k.threshold {
			f.count, f.until = 0, now.Add(lockDuration)
		}
	}
}

// evict removes expired entries, and the oldest entry if that is not enough.
func (l *logins) evict(now time.Time) {
	if len(l.failed) < maxLocks {
		return
	}
	oldest := ""
	for key, f := range l.failed {
		if now.After(f.until) && now.Sub(f.last) > lockCounterReset {
			delete(l.failed, key)
		} else if oldest == "" || f.last.Before(l.failed[oldest].last) {
			oldest = key
		}
	}
	if len(l.failed) >= maxLocks {
		delete(l.failed, oldest)
	}
}

func (l *logins) right(keys []lockKey, name, fingerprint string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range keys {
		delete(l.failed, k.key)
	}
	l.proven[name] = proof{fingerprint, l.now().Add(provenFor)}
}

// isLocked reports whether the account is locked for all addresses.
func (l *logins) isLocked(name string) bool { return l.locked([]lockKey{{key: name}}) }

// authenticate returns the account of a request, and its session if it has one. The error for a request without credentials
// describes how to log in.
func (s *Service) authenticate(r *http.Request) (Account, *session, error) {
	if token := r.Header.Get(headerToken); token != "" {
		return s.sessions.find(token)
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return Account{}, nil, fail(msgNoValidSession)
	}
	account, err := s.logins.check(r.Context(), name, password, r.RemoteAddr)
	return account, nil, err
}
