package server_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// badCreate is a Create that has to be refused: its mistake, the code, and the texts in the message, of which the first is the
// field.
type badCreate struct {
	name  string
	spoil func(*providerv1.CreateRequest)
	code  codes.Code
	says  []string
}

// TestBadCreates makes each of these Creates on every release. Each is refused by name and changes nothing on the NAS.
func TestBadCreates(t *testing.T) {
	t.Parallel()
	table := [][]badCreate{badNames(), badClasses(), badProfiles(), badImages(), badNetworks(), badAddresses(), riskyAddresses(), badDisks(), badPlacements(), badSpaces(), badOwners()}
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			client, nas := busyNAS(t, release)
			for _, bad := range table {
				for _, tt := range bad {
					t.Run(tt.name, func(t *testing.T) {
						req := good()
						tt.spoil(req)
						untouched(t, nas, func() error {
							_, err := client.Create(t.Context(), req)
							return err
						}, tt.code, tt.says...)
					})
				}
			}
		})
	}
}

// untouched makes a call twice that must be refused, and compares the NAS before and after.
func untouched(t *testing.T, nas *sim.Sim, call func() error, code codes.Code, says ...string) {
	t.Helper()
	before := nas.State()
	for range 2 {
		err := call()
		if status.Code(err) != code {
			t.Fatalf("%v; want %v", err, code)
		}
		for _, text := range says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%q does not say %q", err, text)
			}
		}
	}
	if after := nas.State(); !reflect.DeepEqual(before, after) {
		t.Errorf("the NAS changed:\n%s", changes(t, before, after))
	}
}

// changes lists the lines, as JSON, in which two states differ.
func changes(t *testing.T, before, after sim.State) string {
	t.Helper()
	count := map[string]int{}
	for sign, state := range map[int]sim.State{-1: before, +1: after} {
		text, err := json.MarshalIndent(state, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			count[line] += sign
		}
	}
	var list []string
	for line, n := range count {
		if n != 0 {
			list = append(list, fmt.Sprintf("%+d %s", n, line))
		}
	}
	slices.Sort(list)
	return strings.Join(list, "")
}

// good returns a valid Create, so that each refusal is due to the mistake of the test.
func good() *providerv1.CreateRequest {
	req := wanted("web-1")
	req.ImageJson = `{"Path":"tank/templates/gold@v1"}`
	req.MetaData = []byte("instance-id: web-1\n")
	req.PlacementJson = `{"Datastore":"tank"}`
	return req
}

// busyNAS returns a provider over a NAS with objects of others: VMs made by hand, by another provider and for another owner, images
// on two pools, and an encrypted dataset.
func busyNAS(t *testing.T, release string, opts ...func(*server.Config)) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	client, nas := onPools(t, release, opts...)
	addImage(t, nas)
	theirs := map[string]string{"virtrigaud:provider": "another", "virtrigaud:name": "theirs"}
	if err := errors.Join(
		nas.AddSnapshot("tank/templates@v1"),
		nas.AddDataset("tank/old", nil),
		nas.AddVolume("tank/old/disk0", 10<<30, nil),
		nas.AddVM("by_hand", 2, 1024, "tank/old/disk0"),
		nas.AddVolume("flash/gold", 10<<30, nil),
		nas.AddSnapshot("flash/gold@v1"),
	); err != nil {
		t.Fatal(err)
	}
	owned := good()
	owned.Name, owned.Owner = "owned", &providerv1.ObjectIdentity{Uid: "uid-1"}
	pinned := unnamed("pinned")
	pinned.NetworksJson = `[{"Bridge":"br0","MacAddress":"02:00:00:00:0a:0b"}]`
	for _, req := range []*providerv1.CreateRequest{owned, unnamed("unowned"), pinned} {
		if _, err := client.Create(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if err := nas.AddDataset("tank/virtrigaud/vms/theirs", theirs); err != nil {
		t.Fatal(err)
	}
	return client, nas
}

// onPools returns a provider over a NAS with two pools, "tank" of 1 TiB and "flash" of 100 GiB.
func onPools(t *testing.T, release string, opts ...func(*server.Config)) (providerv1.ProviderClient, *sim.Sim) {
	t.Helper()
	nas, simulated := truenastest.New(t, func(c *sim.Config) {
		c.Release = release
		c.Pools = []sim.Pool{{Name: "tank", SizeBytes: 1 << 40}, {Name: "flash", SizeBytes: 100 << 30}}
	})
	client, _ := serve(t, nas, opts...)
	return client, simulated
}

// unnamed returns a valid Create with another name, without an owner.
func unnamed(name string) *providerv1.CreateRequest {
	req := good()
	req.Name = name
	return req
}

// TestGoodCreate proves that the base request of the table is valid.
func TestGoodCreate(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		client, _ := busyNAS(t, release)
		if _, err := client.Create(t.Context(), good()); err != nil {
			t.Errorf("%s: %v", release, err)
		}
	}
}

// Functions that add a mistake to a part of a request.

func class(more string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) {
		// The second of two equal keys counts.
		r.ClassJson = `{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":20},` + more + `}`
	}
}

func rawClass(text string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.ClassJson = text }
}

func image(text string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.ImageJson = text }
}

func nic(more string) func(*providerv1.CreateRequest) {
	return networks(`[{"Name":"eth0","Bridge":"br0",` + more + `}]`)
}

func networks(text string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.NetworksJson = text }
}

func disks(text string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.DisksJson = text }
}

func placement(text string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.PlacementJson = text }
}

func named(name string) func(*providerv1.CreateRequest) {
	return func(r *providerv1.CreateRequest) { r.Name = name }
}
