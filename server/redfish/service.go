package redfish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// The lifetimes of sessions.
const (
	defaultIdle = 30 * time.Minute
	minIdle     = 30 * time.Second // the minimum of the schema
	maxIdle     = 24 * time.Hour
	longestLife = 7 * 24 * time.Hour
)

// Config is the configuration of a service.
type Config struct {
	Provider providerv1.ProviderClient
	// Accounts is the path of the file of accounts; see [ParseAccounts].
	Accounts string
	// ID identifies this service among others. The service's UUID is derived from it.
	ID string
	// SessionTimeout ends sessions that were idle for this long; 0: 30 minutes. Allowed are 30 seconds to 24 hours.
	SessionTimeout time.Duration
	Logger         *zap.Logger // nil: no log

	now      func() time.Time // set by tests
	patience time.Duration    // likewise; 0: [changeTimeout]
}

// Service is a Redfish service.
type Service struct {
	provider provider
	log      *zap.Logger
	id       string
	accounts *accounts
	logins   *logins
	sessions *sessions
	routes   []route
	patience time.Duration // the time limit of a change of a VM
}

// New makes a service. Its errors report mistakes in the configuration.
func New(cfg Config) (*Service, error) {
	if cfg.Logger == nil {
		cfg.Logger = zap.NewNop()
	}
	if cfg.now == nil {
		cfg.now = time.Now
	}
	if cfg.patience == 0 {
		cfg.patience = changeTimeout
	}
	if cfg.SessionTimeout == 0 {
		cfg.SessionTimeout = defaultIdle
	}
	if cfg.SessionTimeout < minIdle || cfg.SessionTimeout > maxIdle {
		return nil, fmt.Errorf("session timeout: %v; allowed are %v to %v", cfg.SessionTimeout, minIdle, maxIdle)
	}
	list, err := openAccounts(cfg.Accounts, cfg.Logger, cfg.now)
	if err != nil {
		return nil, err
	}
	s := &Service{
		provider: provider{client: cfg.Provider, now: cfg.now}, log: cfg.Logger, accounts: list,
		id:       uuid.NewSHA1(uuid.NameSpaceURL, []byte("redfish:"+cfg.ID)).String(),
		logins:   newLogins(list, cfg.now),
		sessions: newSessions(list, cfg.now, cfg.SessionTimeout, longestLife),
		patience: cfg.patience,
	}
	s.routes = s.table()
	return s, nil
}

// call is a request in progress.
type call struct {
	ctx     context.Context
	request *http.Request
	writer  http.ResponseWriter
	params  map[string]string
	account Account
	session *session
}

// missing returns the error for a resource that does not exist, or that the account does not see.
func (c *call) missing() error { return fail(msgMissing, c.request.URL.Path) }

// requestTimeout bounds a request. A power cycle of a VM takes the longest.
const requestTimeout = 2 * time.Minute

// ServeHTTP handles a request.
func (s *Service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	header := w.Header()
	header.Set("OData-Version", "4.0")
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	c := &call{ctx: ctx, request: r.WithContext(ctx), writer: w}
	if err := s.serve(c); err != nil {
		s.answerError(c, err)
	}
}

// serve finds the route, authenticates the client, and handles the request.
func (s *Service) serve(c *call) error {
	r := c.request
	if version := r.Header.Get("OData-Version"); version != "" && version != "4.0" {
		return fail(msgGeneral).with(http.StatusPreconditionFailed).because("The OData-Version must be 4.0.")
	}
	found, params, ok := find(s.routes, r.URL.EscapedPath())
	c.params = params
	open := ok && (found.open && (r.Method == http.MethodGet || r.Method == http.MethodHead) || found.login && r.Method == http.MethodPost)
	if !open {
		var err error
		if c.account, c.session, err = s.authenticate(r); err != nil {
			return err
		}
		if !c.account.may(login) {
			return fail(msgNoPrivilege)
		}
	}
	switch {
	case !ok:
		return c.missing()
	case !found.allows(r.Method):
		c.writer.Header().Set("Allow", found.allowed())
		return fail(msgMethod)
	}
	for name := range r.URL.Query() {
		if strings.HasPrefix(name, "$") || name == "only" || name == "excerpt" {
			return fail(msgQuery).because("The parameter %s is not supported.", shortened(name))
		}
	}
	return s.dispatch(c, found)
}

func (s *Service) dispatch(c *call, r route) error {
	method := c.request.Method
	if method == http.MethodGet || method == http.MethodHead {
		return s.read(c, r)
	}
	if !r.login && !c.account.may(r.needs) {
		return fail(msgNoPrivilege)
	}
	switch method {
	case http.MethodPost:
		return s.create(c, r)
	case http.MethodPatch:
		return s.change(c, r)
	}
	if err := s.unchanged(c, r); err != nil {
		return err
	}
	if err := r.remove(c); err != nil {
		return err
	}
	c.writer.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) read(c *call, r route) error {
	if r.raw != nil {
		return r.raw(c)
	}
	body, err := r.get(c)
	if err != nil {
		return err
	}
	c.writer.Header().Set("Allow", r.allowed())
	text, tag := s.render(c, body)
	c.writer.Header().Set("ETag", tag)
	if schema := schemaOf(body); schema != "" {
		c.writer.Header().Set("Link", "<"+schema+">; rel=describedby")
	}
	if slices.Contains(tags(c.request, "If-None-Match"), tag) {
		c.writer.WriteHeader(http.StatusNotModified)
		return nil
	}
	write(c.writer, http.StatusOK, text)
	return nil
}

func (s *Service) create(c *call, r route) error {
	body, err := readBody(c.writer, c.request)
	if err != nil {
		return err
	}
	if err := s.unchanged(c, r); err != nil {
		return err
	}
	made, err := r.post(c, body)
	if err != nil {
		return err
	}
	for name, values := range made.header {
		c.writer.Header()[name] = values
	}
	if made.location != "" {
		c.writer.Header().Set("Location", made.location)
	}
	if made.body == nil {
		c.writer.WriteHeader(made.status)
		return nil
	}
	text, _ := s.render(c, made.body)
	write(c.writer, made.status, text)
	return nil
}

// change handles a PATCH and returns the changed resource.
func (s *Service) change(c *call, r route) error {
	body, err := readBody(c.writer, c.request)
	switch {
	case err != nil:
		return err
	case len(body) == 0:
		return fail(msgEmptyJSON)
	}
	if err := s.unchanged(c, r); err != nil {
		return err
	}
	if err := r.patch(c, body); err != nil {
		return err
	}
	return s.read(c, r)
}

// unchanged compares If-Match with the current resource.
func (s *Service) unchanged(c *call, r route) error {
	wanted := tags(c.request, "If-Match")
	if len(wanted) == 0 || r.get == nil {
		return nil
	}
	body, err := r.get(c)
	if err != nil {
		return err
	}
	if _, tag := s.render(c, body); !slices.Contains(wanted, tag) && !slices.Contains(wanted, "*") {
		return fail(msgPrecondition)
	}
	return nil
}

// tags returns the ETags of a header.
func tags(r *http.Request, name string) []string {
	var list []string
	for _, value := range r.Header.Values(name) {
		for tag := range strings.SplitSeq(value, ",") {
			if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag != "" {
				list = append(list, tag)
			}
		}
	}
	return list
}

// render writes a resource, and returns its ETag.
func (s *Service) render(c *call, body object) ([]byte, string) {
	if _, ok := body["@odata.id"]; !ok {
		body["@odata.id"] = strings.TrimSuffix(c.request.URL.EscapedPath(), "/")
	}
	text, err := json.Marshal(body)
	if err != nil { // A resource of strings, numbers, lists and maps always marshals.
		text = []byte("{}")
	}
	sum := sha256.Sum256(text)
	return text, `"` + hex.EncodeToString(sum[:10]) + `"`
}

func write(w http.ResponseWriter, status int, text []byte) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(text) // The client may have disconnected.
}

// answerError writes an error in the standard's form.
func (s *Service) answerError(c *call, err error) {
	var f *fault
	if !errors.As(err, &f) {
		f = s.providerFault(err)
	}
	switch f.status() {
	case http.StatusUnauthorized:
		if c.request.Header.Get(headerToken) == "" {
			c.writer.Header().Set("WWW-Authenticate", `Basic realm="Redfish", charset="UTF-8"`)
		}
	case http.StatusServiceUnavailable:
		c.writer.Header().Set("Retry-After", retryAfter)
	}
	text, err := json.Marshal(f.body())
	if err != nil {
		text = []byte("{}")
	}
	write(c.writer, f.status(), text)
	s.log.Debug("refused", zap.String("method", c.request.Method), zap.String("path", shortened(c.request.URL.Path)),
		zap.String("account", c.account.Name), zap.Int("status", f.status()), zap.String("message", f.messages[0].key))
}

// collection returns a list of resources.
func collection(kind, name string, paths []string) object {
	return object{
		"@odata.type": "#" + kind + "." + kind, "Name": name,
		"Members": links(paths...), "Members@odata.count": len(paths),
	}
}

func healthy() object { return object{"State": "Enabled", "Health": "OK"} }

func host(remote string) string {
	if h, _, err := net.SplitHostPort(remote); err == nil {
		return h
	}
	return remote
}
