package server_test

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// limitedUser is the user whose key has only some roles.
const limitedUser = "limited"

var limitedKey = "7-" + strings.Repeat("limited7", 8)

// TestLeastRoles runs every feature with exactly its roles, and without each one of them: then the feature is refused with that
// role's name before any change, and not advertised.
func TestLeastRoles(t *testing.T) {
	t.Parallel()
	for feature := range scenarios() {
		if server.RolesOfFeatures("25.10")[feature] == nil {
			t.Errorf("feature %q has no roles", feature)
		}
	}
	for _, release := range releases {
		table := server.RolesOfFeatures(release)
		for feature, roles := range table {
			if len(scenarios()[feature]) == 0 {
				t.Errorf("feature %q is not played", feature)
			}
			for _, sc := range scenarios()[feature] {
				t.Run(release+"/"+feature+"/"+sc.name, func(t *testing.T) {
					t.Parallel()
					s, address := newScenarioEnv(t, release, sc)
					for _, role := range roles {
						s.withRoles(t, address, without(roles, role))
						s.refuses(t, sc, feature, role)
					}
					s.withRoles(t, address, roles)
					if err := s.try(t, sc); err != nil {
						t.Errorf("with %v: %v", roles, err)
					}
				})
			}
		}
	}
}

// without removes a role; a role with write access leaves the one with read access.
func without(roles []string, role string) []string {
	if role == "FULL_ADMIN" { // No other role replaces it.
		return append(slices.Clone(server.RolesOfFeatures("25.10")["Full clones"]), "NETWORK_INTERFACE_READ", "READONLY_ADMIN")
	}
	less := slices.DeleteFunc(slices.Clone(roles), func(r string) bool { return r == role })
	if object, writes := strings.CutSuffix(role, "_WRITE"); writes {
		less = append(less, object+"_READ")
	}
	// Of a key without any role, nothing is known.
	if role == "POOL_READ" {
		return append(less, "SYSTEM_GENERAL_READ")
	}
	return append(less, "POOL_READ")
}

func newScenarioEnv(t *testing.T, release string, sc scenario) (*scenarioEnv, *sim.Server) {
	t.Helper()
	nas, address := truenastest.Serve(t, func(c *sim.Config) {
		c.Release = release
		c.Keys = []sim.Key{
			{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: []string{"FULL_ADMIN"}},
			{Username: limitedUser, APIKey: limitedKey},
		}
	})
	s := &scenarioEnv{nas: nas, depot: newDepot(t), options: sc.options}
	s.web, _ = serveImage(t)
	s.iso = serveFiles(t, map[string][]byte{"installer.iso": installerISO()}) + "/installer.iso"
	admin, stop := startProvider(t, address, s.depot.reach, bootingNetwork)
	t.Cleanup(stop)
	s.admin = admin
	prepared(t, s, sc)
	return s, address
}

// withRoles makes a provider log in with these roles; it knows them before its first call.
func (s *scenarioEnv) withRoles(t *testing.T, address *sim.Server, roles []string) {
	t.Helper()
	s.nas.SetRoles(limitedUser, roles...)
	cfg := truenastest.Config(address)
	cfg.Username, cfg.APIKey = limitedUser, limitedKey
	api, err := truenas.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Close() })
	if err := api.Connect(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.client, _ = serve(t, api, append([]func(*server.Config){s.depot.reach, bootingNetwork}, s.options...)...)
}

func (s *scenarioEnv) try(t *testing.T, sc scenario) error {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	return sc.play(ctx, s)
}

// refuses runs a scenario without one of the roles.
func (s *scenarioEnv) refuses(t *testing.T, sc scenario, feature, role string) {
	t.Helper()
	before := settled(s.nas.State())
	err := s.try(t, sc)
	switch {
	case role == sc.spares && err == nil:
		return
	case status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), role):
		t.Errorf("without %s: %v", role, err)
	}
	if after := settled(s.nas.State()); !reflect.DeepEqual(before, after) {
		t.Errorf("without %s, the NAS changed:\n%s", role, diff(t, before, after))
	}
	offered, err := s.client.GetCapabilities(t.Context(), &providerv1.GetCapabilitiesRequest{})
	if err != nil || advertised(feature, offered) {
		t.Errorf("without %s, offered is %v, %v", role, offered, err)
	}
}

// advertised reports whether a feature is advertised; some features are in every provider, and have no capability.
func advertised(feature string, c *providerv1.GetCapabilitiesResponse) bool {
	switch feature {
	case "Networks with a VLAN tag":
		return slices.Contains(c.GetSupportedNetworkTypes(), "vlan")
	case "Snapshots":
		return c.GetSupportsSnapshots()
	case "Linked clones, and Delete of clones and their sources":
		return c.GetSupportsLinkedClones()
	case "Images from URLs":
		return c.GetSupportsImageImport()
	case "Export and import of disks":
		return c.GetSupportsDiskExport() || c.GetSupportsDiskImport()
	}
	return false
}

// TestEveryRoleIsNeeded removes each role without the provider's knowledge: then TrueNAS itself refuses some use of the feature, which
// proves that the feature needs the role, and the refusal names the missing role.
func TestEveryRoleIsNeeded(t *testing.T) {
	t.Parallel()
	for feature, roles := range server.RolesOfFeatures("25.10") {
		for _, role := range roles {
			t.Run(feature+"/"+role, func(t *testing.T) {
				t.Parallel()
				refused := false
				for _, sc := range scenarios()[feature] {
					s, address := newScenarioEnv(t, "25.10", sc)
					s.withRoles(t, address, []string{"FULL_ADMIN"})
					s.nas.SetRoles(limitedUser, without(roles, role)...)
					err := s.try(t, sc)
					if err == nil {
						continue
					}
					refused = true
					if status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "role "+role) {
						t.Errorf("%s: %v", sc.name, err)
					}
				}
				if !refused {
					t.Errorf("TrueNAS does not require the role")
				}
			})
		}
	}
}
