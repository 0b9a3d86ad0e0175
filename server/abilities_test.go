package server_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/reflect/protoreflect"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// ability is an operation that a provider may support, depending on the release of TrueNAS and the roles of a key.
type ability struct {
	rpc   string
	what  string         // the variant of the RPC; empty: the complete RPC
	flag  string         // the field of GetCapabilitiesResponse that advertises it; empty: none
	value string         // the required value of that field, if it is a list
	ready func(s *stand) // makes the objects for the attempt; nil: none
	try   func(s *stand) error
}

func (a ability) prepare(s *stand) {
	if a.ready != nil {
		a.ready(s)
	}
}

func (a ability) String() string {
	if what := strings.TrimSpace(a.what + " " + a.value); what != "" {
		return a.rpc + ": " + what
	}
	return a.rpc
}

// advertised reports whether the response advertises an ability that has a field.
func (a ability) advertised(offers *providerv1.GetCapabilitiesResponse) bool {
	m := offers.ProtoReflect()
	field := m.Descriptor().Fields().ByName(protoreflect.Name(a.flag))
	if !field.IsList() {
		return m.Get(field).Bool()
	}
	list := m.Get(field).List()
	for i := range list.Len() {
		if list.Get(i).String() == a.value {
			return true
		}
	}
	return false
}

// abilities returns every RPC, and every field of the capabilities with supported and unsupported values.
func abilities() []ability {
	return slices.Concat(lifeAbilities(), changeAbilities(), imageAbilities(), exportAbilities(), importAbilities(), hostAbilities())
}

// stand is a NAS with two providers: one with all roles prepares the objects for the attempts of the other.
type stand struct {
	t      *testing.T
	nas    *sim.Sim
	admin  providerv1.ProviderClient
	client providerv1.ProviderClient
	tried  truenas.Config // the configuration of the tried client
	depot  *depot
	supplies

	off, on, hand string // ids of VMs: one that is off, one that runs, and one made by hand with a small disk
	vm, snapshot  string // the objects of one ability
	made          int
}

// The user whose key has some roles.
const (
	triedUser = "tried"
	triedKey  = "9-triedtriedtriedtriedtriedtriedtriedtriedtriedtriedtriedtriedtrie"
)

// supplies are the fixtures that several stands share.
type supplies struct {
	web    *imageServer
	staged map[string][]byte // images by format, for the depots
}

func newSupplies(t *testing.T) supplies {
	t.Helper()
	web, _ := serveImage(t)
	s := supplies{web: web, staged: map[string][]byte{}}
	for format, name := range map[string]string{
		"qcow2": "v3.qcow2", "vmdk": "streamOptimized.vmdk", "raw": "plain.raw", "vdi": "dynamic.vdi", "vhdx": "dynamic.vhdx", "vhd": "fixed.vhd",
	} {
		s.staged[format] = sample(t, name)
	}
	return s
}

func newStand(t *testing.T, with supplies, release string, roles ...string) *stand {
	t.Helper()
	s := &stand{t: t, depot: newDepot(t), supplies: with}
	nas, address := truenastest.Serve(t, func(c *sim.Config) {
		c.Release = release
		c.Keys = []sim.Key{
			{Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey, Roles: []string{"FULL_ADMIN"}},
			{Username: triedUser, APIKey: triedKey, Roles: roles},
		}
	})
	s.nas = nas
	s.admin = s.provider(truenastest.Config(address))
	s.tried = truenastest.Config(address)
	s.tried.Username, s.tried.APIKey = triedUser, triedKey
	s.client = s.provider(s.tried)
	s.furnish()
	return s
}

func (s *stand) provider(cfg truenas.Config) providerv1.ProviderClient {
	s.t.Helper()
	api, err := truenas.New(cfg)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = api.Close() })
	client, _ := serve(s.t, api, s.depot.reach)
	return client
}

// furnish makes the objects for the attempts.
func (s *stand) furnish() {
	s.t.Helper()
	addImage(s.t, s.nas)
	s.hand = byHand(s.t, s.admin, s.nas, scattered(4<<20))
	s.off, s.on = s.machine(), s.machine()
	if _, err := s.admin.Power(background, &providerv1.PowerRequest{Id: s.on, Op: providerv1.PowerOp_POWER_OP_ON}); err != nil {
		s.t.Fatal(err)
	}
	for format, content := range s.staged {
		s.depot.put(s.t, "s3", "staged."+format, content)
	}
	for _, backend := range diskBackends {
		s.depot.put(s.t, backend, "staged.qcow2", s.staged["qcow2"])
	}
}

// name returns an unused name.
func (s *stand) name() string {
	s.made++
	return fmt.Sprintf("tried-%d", s.made)
}

// small returns a VM without parts that need an upload.
func small(name string) *providerv1.CreateRequest {
	return &providerv1.CreateRequest{
		Name: name, NetworksJson: `[{"Bridge":"br0"}]`,
		ClassJson: `{"CPU":1,"MemoryMiB":256,"Firmware":"UEFI","DiskDefaults":{"Type":"thin","SizeGiB":1}}`,
	}
}

// machine makes a VM with the other provider.
func (s *stand) machine() string {
	s.t.Helper()
	made, err := s.admin.Create(background, small(s.name()))
	if err != nil {
		s.t.Fatal(err)
	}
	return made.GetId()
}

// create makes a variant of a small VM.
func (s *stand) create(change func(*providerv1.CreateRequest)) error {
	req := small(s.name())
	change(req)
	_, err := s.client.Create(background, req)
	return err
}

// aMachine prepares a VM.
func aMachine(s *stand) { s.vm = s.machine() }

// aSnapshot prepares a snapshot of the VM that is off.
func aSnapshot(s *stand) {
	s.t.Helper()
	made, err := s.admin.SnapshotCreate(background, &providerv1.SnapshotCreateRequest{VmId: s.off, NameHint: s.name()})
	if err != nil {
		s.t.Fatal(err)
	}
	s.snapshot = made.GetSnapshotId()
}

// over waits for a task, which may have failed.
func (s *stand) over(task *providerv1.TaskRef, err error) error {
	if err == nil && task.GetId() != "" {
		finish(s.t, s.client, task)
	}
	return err
}

// lists returns abilities of one RPC that differ only in a value.
func lists(rpc, what, flag string, values []string, try func(s *stand, value string) error) []ability {
	var all []ability
	for _, value := range values {
		all = append(all, ability{rpc: rpc, what: what, flag: flag, value: value, try: func(s *stand) error { return try(s, value) }})
	}
	return all
}

// answered returns an error for a wrong response.
func answered(as bool, answer any, err error) error {
	if as {
		return err
	}
	return cmp.Or(err, fmt.Errorf("the answer is %v", answer))
}
