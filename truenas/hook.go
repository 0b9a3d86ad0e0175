package truenas

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
)

// watched calls the hooks at the start of a call; the returned function calls them at its end with
// the outcome.
func (s *session) watched(ctx context.Context, method string) (context.Context, func(error)) {
	began := time.Now()
	ctx, ended := s.traced(ctx, method)
	return ctx, func(err error) {
		ended(err)
		if s.cfg.Hooks.OnCall != nil {
			s.cfg.Hooks.OnCall(CallInfo{Method: method, Took: time.Since(began), Err: err})
		}
	}
}

// traced is watched for work that consists of several calls.
func (s *session) traced(ctx context.Context, name string) (context.Context, func(error)) {
	if s.cfg.Hooks.Trace == nil {
		return ctx, func(error) {}
	}
	return s.cfg.Hooks.Trace(ctx, name)
}

// passed returns a function that reports transferred bytes to the hook.
func (s *session) passed(method string) func(bytes int) {
	if s.cfg.Hooks.OnBytes == nil {
		return func(int) {}
	}
	return func(bytes int) { s.cfg.Hooks.OnBytes(method, bytes) }
}

func (s *session) runningJobs() []Job {
	s.mu.Lock()
	defer s.mu.Unlock()
	var running []Job
	for id, e := range s.st.jobs.seen {
		if e.heard && !e.job.Done() && (e.ours || len(s.st.jobs.waiting[id]) > 0) {
			running = append(running, e.job)
		}
	}
	slices.SortFunc(running, func(a, b Job) int { return cmp.Compare(a.ID, b.ID) })
	return running
}

// fingerprint formats the SHA-256 of a certificate as openssl does.
func fingerprint(certificate *x509.Certificate) string {
	if certificate == nil {
		return ""
	}
	sum := sha256.Sum256(certificate.Raw)
	return strings.ReplaceAll(fmt.Sprintf("% X", sum[:]), " ", ":")
}

// trust returns the reason to accept a certificate, by the configuration.
func (c Config) trust(fingerprint string) Trust {
	switch {
	case fingerprint == "":
		return ""
	case c.Fingerprint != "":
		return TrustPinned
	case c.InsecureSkipVerify:
		return TrustNothing
	}
	return TrustChain
}
