package redfish

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"sync"
	"time"
)

const headerToken = "X-Auth-Token"

// The limits of the number of sessions.
const (
	maxSessions        = 256
	maxAccountSessions = 32
)

// session is a login with a token. The service stores only the token's hash.
type session struct {
	id      string
	account string
	hash    string // the hash of the account's password at the login
	created time.Time
	used    time.Time
	client  string
}

type sessions struct {
	accounts *accounts
	now      func() time.Time
	idle     time.Duration
	longest  time.Duration

	mu      sync.Mutex
	byToken map[[sha256.Size]byte]*session
}

func newSessions(a *accounts, now func() time.Time, idle, longest time.Duration) *sessions {
	return &sessions{accounts: a, now: now, idle: idle, longest: longest, byToken: map[[sha256.Size]byte]*session{}}
}

// open starts a session and returns its token. The token is returned only here.
func (s *sessions) open(a Account, client string) (*session, string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	own := 0
	for _, one := range s.byToken {
		if one.account == a.Name {
			own++
		}
	}
	if len(s.byToken) >= maxSessions || own >= maxAccountSessions {
		return nil, "", fail(msgSessionLimit)
	}
	token := random(32)
	made := &session{id: random(8), account: a.Name, hash: a.PasswordHash, created: s.now(), used: s.now(), client: client}
	s.byToken[sha256.Sum256([]byte(token))] = made
	return made, token, nil
}

// find returns the account of a token, and renews the session.
func (s *sessions) find(token string) (Account, *session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	one, ok := s.byToken[sha256.Sum256([]byte(token))]
	if !ok {
		return Account{}, nil, fail(msgNoValidSession)
	}
	account, ok := s.accounts.named(one.account)
	if !ok {
		return Account{}, nil, fail(msgNoValidSession)
	}
	one.used = s.now()
	copied := *one
	return account, &copied, nil
}

// expire ends sessions that are too old or were idle for too long, and those of changed accounts.
func (s *sessions) expire() {
	now := s.now()
	for token, one := range s.byToken {
		account, known := s.accounts.named(one.account)
		if !known || account.PasswordHash != one.hash || now.Sub(one.used) >= s.idle || now.Sub(one.created) >= s.longest {
			delete(s.byToken, token)
		}
	}
}

// list returns the sessions that an account may see, the oldest first.
func (s *sessions) list(a Account) []session {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.expire()
	var list []session
	for _, one := range s.byToken {
		if one.account == a.Name || a.may(configureManager) {
			list = append(list, *one)
		}
	}
	slices.SortFunc(list, func(a, b session) int {
		if n := a.created.Compare(b.created); n != 0 {
			return n
		}
		return slices.Compare([]byte(a.id), []byte(b.id))
	})
	return list
}

func (s *sessions) end(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for token, one := range s.byToken {
		if one.id == id {
			delete(s.byToken, token)
		}
	}
}

func random(bytes int) string {
	text := make([]byte, bytes)
	_, _ = rand.Read(text) // It never fails.
	return hex.EncodeToString(text)
}

const (
	pathSessionService = "/redfish/v1/SessionService"
	pathSessions       = pathSessionService + "/Sessions"
)

func (s *Service) sessionService(*call) (object, error) {
	return object{
		"@odata.type": "#SessionService.v1_1_8.SessionService", "Id": "SessionService", "Name": "Session Service",
		"ServiceEnabled": true, "SessionTimeout": int(s.sessions.idle / time.Second), "Status": healthy(), "Sessions": link(pathSessions),
	}, nil
}

func (s *Service) sessionList(c *call) (object, error) {
	list := s.sessions.list(c.account)
	paths := make([]string, len(list))
	for i, one := range list {
		paths[i] = pathSessions + "/" + one.id
	}
	return collection("SessionCollection", "Sessions", paths), nil
}

func (s *Service) sessionOf(c *call) (session, error) {
	for _, one := range s.sessions.list(c.account) {
		if one.id == c.params["session"] {
			return one, nil
		}
	}
	return session{}, c.missing()
}

func (s *Service) session(c *call) (object, error) {
	one, err := s.sessionOf(c)
	if err != nil {
		return nil, err
	}
	return one.resource(), nil
}

func (one session) resource() object {
	return object{
		"@odata.id": pathSessions + "/" + one.id, "@odata.type": "#Session.v1_6_0.Session", "Id": one.id, "Name": "Session " + one.id,
		"UserName": one.account, "CreatedTime": one.created.UTC().Format(time.RFC3339), "SessionType": "Redfish",
		"ClientOriginIPAddress": one.client, "Password": nil,
	}
}

func (s *Service) sessionCreate(c *call, body object) (answer, error) {
	values, err := properties(body, "UserName", "Password")
	if err != nil {
		return answer{}, err
	}
	account, err := s.logins.check(c.ctx, values["UserName"], values["Password"], c.request.RemoteAddr)
	if err != nil {
		return answer{}, err
	}
	one, token, err := s.sessions.open(account, host(c.request.RemoteAddr))
	if err != nil {
		return answer{}, err
	}
	return answer{
		status: http.StatusCreated, location: pathSessions + "/" + one.id, header: http.Header{headerToken: {token}}, body: one.resource(),
	}, nil
}

func (s *Service) sessionDelete(c *call) error {
	one, err := s.sessionOf(c)
	if err == nil {
		s.sessions.end(one.id)
	}
	return err
}
