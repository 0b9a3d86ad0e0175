package truenas_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

func TestFaults(t *testing.T) {
	for _, tt := range []struct {
		name  string
		fault sim.Fault
		read  error
		wrote error
	}{
		{"cut before it is done", sim.Fault{Then: sim.CutBefore}, nil, truenas.ErrUncertain},
		{"cut after it is done", sim.Fault{Then: sim.CutAfter}, nil, truenas.ErrUncertain},
		{"answered twice", sim.Fault{Then: sim.AnswerTwice}, nil, nil},
		{"late", sim.Fault{Then: sim.Delay, Delay: 20 * time.Millisecond}, nil, nil},
		{"busy", sim.Fault{Then: sim.Refuse, Err: &sim.CallError{Errno: 16, Reason: "[EBUSY] later"}}, truenas.ErrBusy, truenas.ErrBusy},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
				ctx := bounded(t)
				ok(t, c.Connect(ctx))
				nas.ResetCalls()
				fault := tt.fault
				fault.Method = "vm.query"
				nas.Inject(fault)
				if _, err := c.VMs.List(ctx); !errors.Is(err, tt.read) {
					t.Errorf("a read: %v", err)
				}
				fault.Method = "vm.create"
				nas.Inject(fault)
				_, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64})
				if !errors.Is(err, tt.wrote) {
					t.Errorf("a change: %v", err)
				}
				sent := slices.DeleteFunc(nas.Calls(), func(m string) bool { return m != "vm.create" })
				if len(sent) > 1 {
					t.Errorf("a change was sent %d times", len(sent))
				}
			})
		})
	}
}

func TestReplyThatNeverComes(t *testing.T) {
	nas, address := truenastest.Serve(t)
	cfg := truenastest.Config(address)
	cfg.Linger = 10 * time.Millisecond
	c := must(truenas.New(cfg))(t)
	t.Cleanup(func() { _ = c.Close() })
	ok(t, c.Connect(bounded(t)))
	nas.Inject(sim.Fault{Method: "vm.create", Then: sim.DropReply})
	ctx, cancel := context.WithTimeout(bounded(t), 50*time.Millisecond)
	defer cancel()
	_, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64})
	if !errors.Is(err, truenas.ErrUncertain) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	must(c.VMs.ByName(bounded(t), "a"))(t)
}

func TestMiddlewareRestarts(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ctx := bounded(t)
		nas.SetGuest("a", sim.Guest{IgnoresPowerButton: true})
		vm := must(c.VMs.Create(ctx, truenas.VMCreate{Name: "a", MemoryMiB: 64, ShutdownTimeout: 300}))(t)
		ok(t, c.VMs.Start(ctx, vm.ID, false))
		failed := make(chan error, 1)
		id := must(c.VMs.StopStart(ctx, vm.ID, truenas.StopOptions{}))(t)
		go func() {
			_, err := c.Jobs.Wait(ctx, id, nil)
			failed <- err
		}()
		nas.RestartMiddleware()
		if err := <-failed; !errors.Is(err, truenas.ErrJobLost) {
			t.Errorf("the vanished job: %v", err)
		}
		if vm = must(c.VMs.Get(ctx, vm.ID))(t); vm.Status.State != truenas.StateRunning {
			t.Errorf("the machine: %+v", vm.Status)
		}
	})
}

func TestOutage(t *testing.T) {
	nas, server := truenastest.Serve(t)
	cfg := truenastest.Config(server)
	cfg.ConnectWait = 50 * time.Millisecond
	c := must(truenas.New(cfg))(t)
	defer c.Close()
	ok(t, c.Connect(bounded(t)))
	nas.SetOffline(true)
	if _, err := c.VMs.List(bounded(t)); !errors.Is(err, truenas.ErrUnavailable) {
		t.Errorf("while the NAS is unreachable: %v", err)
	}
	nas.SetOffline(false)
	ok(t, c.Connect(bounded(t)))
	must(c.VMs.List(bounded(t)))(t)
}

func TestKeys(t *testing.T) {
	for _, release := range releases {
		for _, plain := range []bool{false, true} {
			nas, server := truenastest.Serve(t, truenastest.Release(release))
			cfg := truenastest.Config(server)
			cfg.PlainLogin = plain
			c := must(truenas.New(cfg))(t)
			ok(t, c.Connect(bounded(t)))
			if roles := c.Status().Roles; !slices.Contains(roles, "FULL_ADMIN") {
				t.Errorf("%s: roles %v", release, roles)
			}
			if system := c.Status().System; !strings.Contains(system, release) {
				t.Errorf("%s: its name is %q", release, system)
			}
			nas.CutConnections()
			must(c.VMs.List(bounded(t)))(t) // logs in again
			ok(t, c.Close())

			cfg.APIKey = cfg.APIKey[:len(cfg.APIKey)-1] + "X"
			wrong := must(truenas.New(cfg))(t)
			if err := wrong.Connect(bounded(t)); !errors.Is(err, truenas.ErrAuth) {
				t.Errorf("%s: a wrong key: %v", release, err)
			}
			ok(t, wrong.Close())
			if revoked := nas.RevokedKeys(); len(revoked) > 0 {
				t.Errorf("%s: revoked %d keys", release, len(revoked))
			}
		}
	}
}

func TestKeyExpires(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ok(t, c.Connect(bounded(t)))
		nas.ExpireKey(sim.DefaultUser)
		nas.CutConnections()
		if _, err := c.VMs.List(bounded(t)); !errors.Is(err, truenas.ErrAuth) {
			t.Errorf("got %v", err)
		}
	})
}

func TestCertificates(t *testing.T) {
	_, server := truenastest.Serve(t)
	other := sha256.Sum256([]byte("another certificate"))
	block, _ := pem.Decode(server.CA)
	sum := sha256.Sum256(block.Bytes)
	for _, tt := range []struct {
		name   string
		change func(*truenas.Config)
		want   error
	}{
		{"the system's roots", func(*truenas.Config) {}, truenas.ErrCertificate},
		{"its own CA", func(c *truenas.Config) { c.CA = server.CA }, nil},
		{"its fingerprint", func(c *truenas.Config) { c.Fingerprint = strings.ToUpper(hex.EncodeToString(sum[:])) }, nil},
		{"another fingerprint", func(c *truenas.Config) { c.Fingerprint = hex.EncodeToString(other[:]) }, truenas.ErrCertificate},
		{"another fingerprint and no verification", func(c *truenas.Config) {
			c.Fingerprint, c.InsecureSkipVerify = hex.EncodeToString(other[:]), true
		}, truenas.ErrCertificate},
		{"no verification", func(c *truenas.Config) { c.InsecureSkipVerify = true }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg := truenastest.Config(server)
			cfg.Fingerprint, cfg.ConnectWait = "", time.Second
			tt.change(&cfg)
			c := must(truenas.New(cfg))(t)
			defer c.Close()
			err := c.Connect(bounded(t))
			if tt.want == nil {
				ok(t, err)
				return
			}
			if !errors.Is(err, tt.want) {
				t.Errorf("got %v", err)
			}
		})
	}
}

// TestUploadIsFinished ends the caller's context during an upload. An interrupted upload would leave half a file, which might be
// processed after the complete file of the next attempt.
func TestUploadIsFinished(t *testing.T) {
	onEach(t, func(t *testing.T, c *truenas.Client, nas *sim.Sim) {
		ok(t, c.Connect(bounded(t)))
		content := bytes.Repeat([]byte("seed"), 1<<18)
		nas.Inject(sim.Fault{Method: "filesystem.put", Then: sim.Delay, Delay: 100 * time.Millisecond})
		ctx, cancel := context.WithCancel(bounded(t))
		defer cancel()
		nas.OnCall(func(_ int, method string) {
			if method == "filesystem.put" {
				cancel()
			}
		})
		if err := c.Files.Put(ctx, "/mnt/tank/seed", 0o600, bytes.NewReader(content), int64(len(content)), nil); err != nil {
			t.Errorf("the upload: %v", err)
		}
		file := must(c.Files.Get(bounded(t), "/mnt/tank/seed"))(t)
		defer file.Close()
		if got := must(io.ReadAll(file))(t); !bytes.Equal(got, content) {
			t.Errorf("the NAS has %d bytes of %d", len(got), len(content))
		}
	})
}
