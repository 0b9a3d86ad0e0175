// Package truenastest gives tests a client and its simulated NAS, in one line:
//
//	c, nas := truenastest.New(t)
//
// When the environment variable TRUENAS_SIM_TRANSCRIPT names a file, every simulator appends its calls and replies to that
// file, those that differ in more than numbers and names.
package truenastest

import (
	"os"
	"testing"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// New starts a simulated NAS on loopback, with TLS, and a client that pins its
// certificate. Both are closed when the test ends. The client has not connected
// yet.
func New(t testing.TB, opts ...func(*sim.Config)) (*truenas.Client, *sim.Sim) {
	t.Helper()
	nas, server := Serve(t, opts...)
	c, err := truenas.New(Config(server))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c, nas
}

// Serve starts a simulated NAS without a client.
func Serve(t testing.TB, opts ...func(*sim.Config)) (*sim.Sim, *sim.Server) {
	t.Helper()
	var cfg sim.Config
	if name := os.Getenv("TRUENAS_SIM_TRANSCRIPT"); name != "" {
		// The simulator writes whole lines, so that processes may share the file.
		f, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = f.Close() })
		cfg.Transcript = distinct{f}
	}
	for _, opt := range opts {
		opt(&cfg)
	}
	nas, err := sim.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(nas.Close)
	server, err := sim.Serve(nas, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	return nas, server
}

// Config returns a client's configuration for a server and the default key. PlainLogin is set, because SCRAM, which TrueNAS has
// since 26, is so slow that tests on a slow machine would time out. Tests of logins set it to false.
func Config(server *sim.Server) truenas.Config {
	return truenas.Config{
		URL: server.URL, Fingerprint: server.Fingerprint,
		Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, PlainLogin: true,
	}
}

// Release selects the simulated release: "25.04.2", "25.10", "26" or "27".
func Release(name string) func(*sim.Config) {
	return func(cfg *sim.Config) { cfg.Release = name }
}
