package server_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// in makes a provider run in a cluster, as the Provider ns/truenas there.
func in(cluster string) func(*server.Config) {
	return func(c *server.Config) { c.Installation = server.Installation{Owner: "ns/truenas", Cluster: cluster} }
}

// installed also sets storage.installation.
func installed(id string) func(*server.Config) {
	return func(c *server.Config) { c.Installation.ID = id }
}

// claimsOn returns the claims on a dataset itself.
func claimsOn(nas *sim.Sim, dataset string) []string {
	var claims []string
	for _, d := range nas.State().Datasets {
		for key, value := range d.User {
			if d.Name == dataset && strings.HasPrefix(key, "virtrigaud:installation-") {
				claims = append(claims, value)
			}
		}
	}
	return claims
}

// installationIn returns the id in the remedy of a message.
func installationIn(t *testing.T, err error) string {
	t.Helper()
	_, after, ok := strings.Cut(fmt.Sprint(err), "set storage.installation to ")
	id, _, _ := strings.Cut(after, ";")
	if !ok || id == "" {
		t.Fatalf("%v does not name the setting", err)
	}
	return id
}

// Two clusters with the same manifests have providers with the same id, and their VMs have the same ids.
func TestTwoClusters(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			api, nas := truenastest.New(t, truenastest.Release(release))
			production, _ := serve(t, api, in("production"))
			withSnapshot(t, production, nas)
			development, dev := serve(t, api, in("development"), loopbackImages)
			web, _ := serveImage(t)
			for name, call := range map[string]func() error{
				"Create":          func() error { return createWeb1(t.Context(), development) },
				"Create another":  ofImage(t, development, "tank/templates/gold@v1"),
				"Delete":          func() error { return deleteVM(idOfWeb1)(t.Context(), development) },
				"Reconfigure":     func() error { return reconfigureWeb1(t.Context(), development) },
				"Snapshot":        func() error { return snapshotWeb1(t.Context(), development) },
				"Snapshot delete": func() error { return deleteSnapshot(t.Context(), development) },
				"Clone":           func() error { return cloneWeb1(t.Context(), development) },
				"Image": func() error {
					_, err := prepare(t, development, web.job(web.checksum()))
					return err
				},
				"Power": func() error {
					_, err := development.Power(t.Context(), &providerv1.PowerRequest{Id: idOfWeb1, Op: providerv1.PowerOp_POWER_OP_ON})
					return err
				},
			} {
				t.Run(name, func(t *testing.T) {
					untouched(t, nas, call, codes.FailedPrecondition, "tank/virtrigaud", "another installation", "ns/truenas", "storage.installation", "storage.dataset")
				})
			}
			checkForeignOwner(t, development, dev)
			if raw := rawOf(t, development, idOfWeb1); raw["managed"] != "false" {
				t.Errorf("described as %v", raw)
			}
			for _, step := range []request{createWeb1, revertWeb1, deleteSnapshot, deleteVM(idOfWeb1)} {
				if err := step(t.Context(), production); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// checkForeignOwner checks that commands and Validate report that another installation owns the dataset.
func checkForeignOwner(t *testing.T, client providerv1.ProviderClient, s *server.Server) {
	t.Helper()
	answer, err := client.Validate(t.Context(), &providerv1.ValidateRequest{})
	if err != nil || answer.GetOk() || !strings.Contains(answer.GetMessage(), "storage.installation") {
		t.Errorf("Validate: %v, %v", answer, err)
	}
	_, listing := s.Leftovers(t.Context(), 0)
	_, fixing := s.RemoveLeftovers(t.Context(), 0)
	_, pruning := s.PruneImages(t.Context(), 0, true)
	for name, err := range map[string]error{"doctor": listing, "doctor --fix": fixing, "prune-images": pruning} {
		if err == nil || !strings.Contains(err.Error(), "another installation") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if finding := about(s.Preflight(t.Context()), "installation"); !strings.HasPrefix(finding, "2 ") || !strings.Contains(finding, "storage.installation") {
		t.Errorf("config check: %s", finding)
	}
}

// The replacement of a lost cluster takes over its VMs by one setting; the old cluster is refused from then on.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			lost, _ := serve(t, api, in("lost"))
			withWeb1(t, lost, nas)
			rebuilt, _ := serve(t, api, in("rebuilt"))
			err := createWeb1(t.Context(), rebuilt)
			id := installationIn(t, err)
			wrong, _ := serve(t, api, in("rebuilt"), installed("wrong"))
			untouched(t, nas, func() error { return createWeb1(t.Context(), wrong) }, codes.FailedPrecondition, "another installation", id)
			takes, s := serve(t, api, in("rebuilt"), installed(id))
			s.RenewClaim(t.Context())
			if err := snapshotWeb1(t.Context(), takes); err != nil {
				t.Fatal(err)
			}
			again, _ := serve(t, api, in("rebuilt"))
			if err := deleteSnapshot(t.Context(), again); err != nil {
				t.Errorf("without the setting, after the takeover: %v", err)
			}
			back, _ := serve(t, api, in("lost"))
			untouched(t, nas, func() error { return deleteVM(idOfWeb1)(t.Context(), back) }, codes.FailedPrecondition, "another installation")
			if err := deleteVM(idOfWeb1)(t.Context(), lost); err == nil {
				t.Error("the old cluster has deleted a VM")
			}
		})
	}
}

// The dataset of an earlier version has no claim. The provider writes it at the start, or with the next VM, without a setting.
func TestUpgradeOfAnUnmarkedDataset(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			api, nas := truenastest.New(t, truenastest.Release(release))
			before, _ := serve(t, api, in("production"))
			withWeb1(t, before, nas)
			unmark(t, api)
			after, s := serve(t, api, in("production"))
			if err := snapshotWeb1(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			if err := deleteVM(idOfWeb1)(t.Context(), after); err != nil {
				t.Fatal(err)
			}
			s.RenewClaim(t.Context())
			if claims := claimsOn(nas, "tank/virtrigaud"); len(claims) != 1 || !strings.Contains(claims[0], "cluster=production") {
				t.Errorf("claims: %v", claims)
			}
			unmark(t, api)
			other, _ := serve(t, api, in("production"))
			if err := createWeb1(t.Context(), other); err != nil {
				t.Fatal(err)
			}
			if claims := claimsOn(nas, "tank/virtrigaud"); len(claims) != 1 {
				t.Errorf("claims after a Create: %v", claims)
			}
		})
	}
}

// unmark turns the dataset into that of an earlier version.
func unmark(t *testing.T, api *truenas.Client) {
	t.Helper()
	root, err := api.Datasets.Get(t.Context(), "tank/virtrigaud")
	if err != nil {
		t.Fatal(err)
	}
	for key := range root.LocalUserProperties {
		if _, err := api.Datasets.Update(t.Context(), root.ID, truenas.DatasetUpdate{RemoveUserProperties: []string{key}}); err != nil {
			t.Fatal(err)
		}
	}
}

// Replicas that start at the same time agree, and so do providers without a known cluster, and those with other ids.
func TestReplicasAgreeOnTheInstallation(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			nas, address := truenastest.Serve(t, truenastest.Release(release))
			addImage(t, nas)
			var all sync.WaitGroup
			for i := range 4 {
				client, stop := startProvider(t, address, in("production"), func(c *server.Config) { c.Instance = fmt.Sprint("replica-", i) })
				t.Cleanup(stop)
				all.Go(func() {
					req := web1()
					req.Name = fmt.Sprint("web-", i)
					for range replicaTry {
						if _, err := client.Create(t.Context(), req); err == nil {
							return
						} else if !strings.Contains(err.Error(), "ask") && !strings.Contains(err.Error(), "moment") {
							t.Error(err)
							return
						}
					}
				})
			}
			all.Wait()
			if claims := claimsOn(nas, "tank/virtrigaud"); len(claims) != 1 {
				t.Errorf("claims: %v", claims)
			}
			for name, change := range map[string]func(*server.Config){
				"without a cluster": func(c *server.Config) { c.Installation = server.Installation{Owner: "ns/truenas"} },
				"by hand":           func(c *server.Config) { c.Installation = server.Installation{} },
				"another id":        func(c *server.Config) { in("development")(c); c.ID = "other" },
			} {
				client, stop := startProvider(t, address, change)
				req := web1()
				req.Name = "more of " + name
				if _, err := client.Create(t.Context(), req); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				stop()
			}
			other, stop := startProvider(t, address, func(c *server.Config) { in("production")(c); c.Installation.Owner = "ns/another" })
			defer stop()
			if err := createWeb1(t.Context(), other); err == nil {
				t.Error("another Provider of the same id in the cluster was admitted")
			}
		})
	}
}
