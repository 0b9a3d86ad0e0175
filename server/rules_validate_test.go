package server_test

import (
	"net"
	"strings"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// validate checks Validate's response: its result, and a part of its message.
func validate(t *testing.T, client providerv1.ProviderClient, ok bool, says string) {
	t.Helper()
	for range 2 {
		resp, err := client.Validate(t.Context(), &providerv1.ValidateRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if resp.GetOk() != ok || !strings.Contains(resp.GetMessage(), says) {
			t.Errorf("ok=%t, %q; want ok=%t and %q", resp.GetOk(), resp.GetMessage(), ok, says)
		}
	}
}

// impatient limits the wait for an unreachable NAS to what a slow machine needs, and avoids the hash of a login.
func impatient(c *truenas.Config) { c.ConnectWait, c.PlainLogin = 2*time.Second, true }

// TestValidateThroughAnOutage: ok=false would orphan every VM that is being deleted.
func TestValidateThroughAnOutage(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			nas.SetOffline(true)
			validate(t, withKey(t, address, impatient), true, "degraded")
			nas.SetOffline(false)
			client := withKey(t, address, impatient)
			validate(t, client, true, "TrueNAS-")
			for _, offline := range []bool{true, false} {
				nas.SetOffline(offline)
				soon(t, "Validate reports it", func() bool {
					resp, err := client.Validate(t.Context(), &providerv1.ValidateRequest{})
					if err != nil || !resp.GetOk() {
						t.Fatalf("ok=%t, %q, %v", resp.GetOk(), resp.GetMessage(), err)
					}
					return strings.Contains(resp.GetMessage(), "degraded") == offline
				})
			}
		})
	}
}

// TestValidateOfAnUnusableConfiguration reports ok=false for a configuration that can never work.
func TestValidateOfAnUnusableConfiguration(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		prepare func(*sim.Sim)
		nas     func(*truenas.Config)
		says    string
	}{
		{"another key", nil, func(c *truenas.Config) { c.APIKey = "1-" + strings.Repeat("x", 64) }, "key"},
		{"an expired key", func(nas *sim.Sim) { nas.ExpireKey(sim.DefaultUser) }, func(*truenas.Config) {}, "expired"},
		{"another certificate", nil, func(c *truenas.Config) { c.Fingerprint = strings.Repeat("00", 32) }, "certificate"},
		{"a key that may not read", func(nas *sim.Sim) { nas.SetRoles(sim.DefaultUser) }, func(*truenas.Config) {}, "permission"},
	} {
		for _, release := range releases {
			t.Run(release+"/"+tt.name, func(t *testing.T) {
				t.Parallel()
				nas, address := truenastest.Serve(t, truenastest.Release(release))
				if tt.prepare != nil {
					tt.prepare(nas)
				}
				validate(t, withKey(t, address, tt.nas), false, tt.says)
			})
		}
	}
}

func TestValidateWithoutThePool(t *testing.T) {
	t.Parallel()
	api, _ := truenastest.New(t)
	client, _ := serve(t, api, func(c *server.Config) { c.Dataset = "dozer/virtrigaud" })
	validate(t, client, false, "dozer")
}

func TestValidateOfAnOldRelease(t *testing.T) {
	t.Parallel()
	_, address := truenastest.Serve(t, func(c *sim.Config) { c.Release, c.Versions = "25.04.2", []string{"v25.04.0"} })
	validate(t, withKey(t, address, func(*truenas.Config) {}), false, "25.04.2")
}

// TestValidateOfAKeyThatExpires: a configuration with an expired key needs a new key, even if it worked before.
func TestValidateOfAKeyThatExpires(t *testing.T) {
	t.Parallel()
	nas, address := truenastest.Serve(t)
	client := withKey(t, address, impatient)
	validate(t, client, true, "TrueNAS-")
	nas.ExpireKey(sim.DefaultUser)
	nas.CutConnections()
	soon(t, "Validate says that the key is of no use", func() bool {
		resp, err := client.Validate(t.Context(), &providerv1.ValidateRequest{})
		if err != nil {
			t.Fatal(err)
		}
		return !resp.GetOk() && strings.Contains(resp.GetMessage(), "expired")
	})
}

// TestValidateOfAWrongName uses a name server that knows no host.
func TestValidateOfAWrongName(t *testing.T) {
	names := noNames(t)
	nameServer.Store(&names)
	defer nameServer.Store(nil)
	_, address := truenastest.Serve(t)
	validate(t, withKey(t, address, func(c *truenas.Config) { impatient(c); c.URL = "https://nas.example.com" }), false, "nas.example.com")
}

// noNames is the address of a name server that answers every question with "no such host".
func noNames(t *testing.T) string {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	go func() {
		defer close(ended)
		for message := make([]byte, 512); ; {
			n, peer, err := conn.ReadFrom(message)
			if err != nil {
				return
			}
			if n < 12 {
				continue
			}
			// RFC 1035: the question is returned as an answer (QR) with the code NXDOMAIN, without the records after the question.
			message[2], message[3] = message[2]|0x80, 0x80|3
			end := 12
			for end < n && message[end] != 0 {
				end += int(message[end]) + 1
			}
			copy(message[6:12], make([]byte, 6))
			_, _ = conn.WriteTo(message[:min(end+5, n)], peer)
		}
	}()
	return conn.LocalAddr().String()
}
