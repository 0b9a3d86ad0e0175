package truenas_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// TestCertificateOfEachConfiguration reads the certificate of a NAS with each configuration.
func TestCertificateOfEachConfiguration(t *testing.T) {
	nas, server := truenastest.Serve(t)
	for _, tt := range []struct {
		name  string
		cfg   truenas.Config
		wants string // part of Distrust; empty: accepted
	}{
		{"nothing is known about it", truenas.Config{}, "unknown authority"},
		{"its fingerprint is known", truenas.Config{Fingerprint: server.Fingerprint}, ""},
		{"another fingerprint is known", truenas.Config{Fingerprint: strings.Repeat("00", 32)}, "fingerprint mismatch"},
		{"its authority is known", truenas.Config{CA: server.CA}, ""},
		{"any will do", truenas.Config{InsecureSkipVerify: true}, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.cfg.URL = server.URL
			seen, err := tt.cfg.Certificate(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if !strings.EqualFold(strings.ReplaceAll(seen.Fingerprint, ":", ""), strings.ReplaceAll(server.Fingerprint, ":", "")) {
				t.Errorf("the fingerprint is %s, want %s", seen.Fingerprint, server.Fingerprint)
			}
			if !seen.SelfSigned || !slices.Contains(seen.Names, "127.0.0.1") || "https://"+seen.Address != server.URL {
				t.Errorf("got %+v", seen)
			}
			if seen.Subject == "" || time.Until(seen.NotAfter) <= 0 {
				t.Errorf("subject %q, valid until %v", seen.Subject, seen.NotAfter)
			}
			switch {
			case tt.wants == "" && seen.Distrust != nil, tt.wants != "" && (seen.Distrust == nil || !strings.Contains(seen.Distrust.Error(), tt.wants)):
				t.Errorf("distrust is %v, want %q", seen.Distrust, tt.wants)
			}
		})
	}
	if calls := nas.Calls(); len(calls) > 0 {
		t.Errorf("the NAS received %v", calls)
	}
}

func TestNoCertificate(t *testing.T) {
	_, server := truenastest.Serve(t)
	server.Close()
	if seen, err := (truenas.Config{URL: server.URL}).Certificate(t.Context()); err == nil {
		t.Errorf("an unreachable NAS has %+v", seen)
	}
}
