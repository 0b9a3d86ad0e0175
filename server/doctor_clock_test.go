package server_test

import (
	"fmt"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// On a NAS whose clock is late, work in progress seems old. doctor --fix uses the NAS's time.
func TestDoctorUsesTheClockOfTheNAS(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Clock = release, lateClock{} })
			client, provider := serve(t, api, func(c *server.Config) { c.LeaseFor = time.Millisecond })
			addImage(t, nas)
			w := doctorTest{t, client, provider, api, nas}
			w.dataset("tank/virtrigaud/imports/web_9", nil) // Made a moment ago, which is a day ago by the NAS's clock.
			w.removeLeftovers(provider, time.Minute, 0)
			if left := below(nas.State(), "tank/virtrigaud/imports/"); len(left) != 1 {
				t.Errorf("leftovers: %v", left)
			}
			w.removeLeftovers(provider, 0, 1)
			if left := below(nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
				t.Errorf("leftovers of the doctor: %v", left)
			}
		})
	}
}

// The heartbeats of a worker whose clock is late look old. The worker counts as alive while they change.
func TestDoctorDetectsAWorkerWithAnotherClock(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Clock = release, lateClock{} })
			const lease, staging = 100 * time.Millisecond, "tank/virtrigaud/staging/import-web_9"
			client, provider := serve(t, api, func(c *server.Config) { c.LeaseFor = lease })
			w := doctorTest{t, client, provider, api, nas}
			w.dataset(staging, stagedAt(time.Now().Add(-time.Hour)))
			var beats atomic.Int64
			stop := make(chan struct{})
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				for tick := time.NewTicker(lease / 10); ; {
					select {
					case <-stop:
						return
					case <-tick.C:
						millis := time.Now().Add(-time.Hour).UnixMilli() + beats.Add(1)
						update := truenas.DatasetUpdate{SetUserProperties: map[string]string{"virtrigaud:beat": strconv.FormatInt(millis, 10)}}
						_, _ = api.Datasets.Update(t.Context(), staging, update)
					}
				}
			}()
			w.removeLeftovers(provider, 0, 0)
			close(stop)
			<-stopped
			w.removeLeftovers(provider, 0, 1)
		})
	}
}

// An object that comes into use between the examination and the removal stays.
func TestDoctorChecksAgainUnderTheLock(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, func(c *sim.Config) { c.Release, c.Clock = release, lateClock{} })
			client, provider := serve(t, api, func(c *server.Config) { c.LeaseFor = time.Millisecond })
			addImage(t, nas)
			w := doctorTest{t, client, provider, api, nas}
			w.detach(home9 + "/data")
			lock := "tank/virtrigaud/staging/promote-web_9"
			nas.OnCall(func(_ int, method string) {
				if method != "pool.dataset.create" {
					return
				}
				nas.OnCall(func(_ int, method string) {
					if method == "pool.dataset.create" { // The second one is the lock of the VM.
						nas.OnCall(nil)
						if _, err := nas.WriteVolume(home9+"/data", []byte(fmt.Sprintf("%02097152d", 7)), 0); err != nil {
							t.Error(err)
						}
					}
				})
			})
			removed, err := provider.RemoveLeftovers(t.Context(), 0)
			if len(removed) > 0 || err == nil {
				t.Errorf("removed %+v, %v", removed, err)
			}
			if got := below(nas.State(), home9+"/"); len(got) != 2 {
				t.Errorf("the VM's dataset has %v", got)
			}
			if left := below(nas.State(), lock); len(left) > 0 {
				t.Errorf("leftovers: %v", left)
			}
		})
	}
}

// The record of an image's source stays: the manager may believe that the image exists, and Create lands it again.
func TestDoctorKeepsTheSourceOfAnImage(t *testing.T) {
	t.Parallel()
	w := newDoctorTest(t, "25.10")
	const key = "tank/virtrigaud/images/key"
	w.dataset(key, map[string]string{"virtrigaud:source": "https://images.example/a.raw"})
	w.volume(key+"/disk", nil)
	w.removeLeftovers(w.provider, 0, 1)
	w.finds(w.provider, 0, 0)
	if _, err := w.api.Datasets.Get(t.Context(), key); err != nil {
		t.Error(err)
	}
	if _, err := w.api.Datasets.Get(t.Context(), key+"/disk"); err == nil {
		t.Error("the volume is still there")
	}
}
