package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
	"virtrigaud-provider-truenas/truenas/truenastest/sampling"
)

const (
	bootISO   = "/mnt/tank/iso/ipxe.iso"
	bootBytes = 1 << 20 // no other image has this size
)

func bootingNetwork(c *server.Config) { c.NetworkBootISO = bootISO }

// starts is a hypervisor that records the boot source of each start.
type starts struct {
	mu      sync.Mutex
	sources []string
	fail    error // the error of the next start
}

func (s *starts) Boot(m sim.Machine) (sim.Domain, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.fail; err != nil {
		s.fail = nil
		return nil, err
	}
	for _, d := range m.Devices {
		switch {
		case d.Kind == "DISK":
			s.sources = append(s.sources, "disk")
		case d.Kind == "CDROM" && d.Storage.Size() == bootBytes:
			s.sources = append(s.sources, "network")
		case d.Kind == "CDROM":
			s.sources = append(s.sources, "cdrom")
		default:
			continue
		}
		break
	}
	return idle{}, nil
}

func (s *starts) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.sources)
}

// idle is a guest without a behavior.
type idle struct{}

func (idle) PID() int                                                 { return 0 }
func (idle) Press()                                                   {}
func (idle) Cut()                                                     {}
func (idle) Reset()                                                   {}
func (idle) Pause(bool)                                               {}
func (idle) Interfaces(context.Context) ([]sim.GuestInterface, error) { return nil, nil }
func (idle) Neighbours() map[netip.Addr]string                        { return nil }

// bootable is a NAS that records its starts, with both images and a blank VM.
type bootable struct {
	t       *testing.T
	release string
	starts  *starts
	nas     *sim.Sim
	address *sim.Server
}

func newBootable(t *testing.T, release string) *bootable {
	t.Helper()
	b := &bootable{t: t, release: release, starts: &starts{}}
	b.nas, b.address = truenastest.Serve(t, truenastest.Release(release), func(c *sim.Config) { c.Hypervisor = b.starts })
	b.must(errors.Join(b.nas.AddDataset("tank/iso", nil), b.nas.AddFile(bootISO, bootBytes)))
	client, stop := startProvider(t, b.address, bootingNetwork)
	defer stop()
	b.must(createBlank(t.Context(), client))
	return b
}

func (b *bootable) must(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func setBoot(setting, value string) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		desired := fmt.Sprintf(`{"Name":"web-1","Class":{"ExtraConfig":{"truenas.io/%s":%q}}}`, setting, value)
		_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: desired})
		return err
	}
}

func powerWeb1(op providerv1.PowerOp) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Power(ctx, &providerv1.PowerRequest{Id: idOfWeb1, Op: op})
		return err
	}
}

var (
	turnOn  = powerWeb1(providerv1.PowerOp_POWER_OP_ON)
	turnOff = powerWeb1(providerv1.PowerOp_POWER_OP_OFF)
)

// do runs steps with a new provider.
func (b *bootable) do(steps ...request) error {
	b.t.Helper()
	client, stop := startProvider(b.t, b.address, bootingNetwork)
	defer stop()
	for _, step := range steps {
		if err := step(b.t.Context(), client); err != nil {
			return err
		}
	}
	return nil
}

// booted compares the recorded boot sources with the expected ones.
func (b *bootable) booted(want ...string) {
	b.t.Helper()
	if got := b.starts.seen(); !slices.Equal(got, want) {
		b.t.Errorf("booted %q, want %q", got, want)
	}
}

func TestBootOrder(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			once, always := "boot_once", "boot"
			for _, tt := range []struct {
				name  string
				steps []request
				want  []string
			}{
				{"nothing requested", []request{turnOn}, []string{"disk"}},
				{"once", []request{setBoot(once, "network"), turnOn, turnOff, turnOn}, []string{"network", "disk"}},
				{"once, of a VM that runs", []request{turnOn, setBoot(once, "network"), turnOn, turnOff, turnOn, turnOff, turnOn}, []string{"disk", "network", "disk"}},
				{"once, twice requested", []request{setBoot(once, "network"), setBoot(once, "network"), turnOn, turnOff, turnOn}, []string{"network", "disk"}},
				{"once, taken back", []request{setBoot(once, "network"), setBoot(once, "none"), turnOn}, []string{"disk"}},
				{"always", []request{setBoot(always, "network"), turnOn, turnOff, turnOn}, []string{"network", "network"}},
				{"always, and the disk once", []request{setBoot(always, "network"), setBoot(once, "disk"), turnOn, turnOff, turnOn}, []string{"disk", "network"}},
				{"always, and the disk again", []request{setBoot(always, "network"), turnOn, setBoot(always, "disk"), turnOff, turnOn}, []string{"network", "disk"}},
			} {
				b := newBootable(t, release)
				if err := b.do(tt.steps...); err != nil {
					t.Errorf("%s: %v", tt.name, err)
				}
				if got := b.starts.seen(); !slices.Equal(got, tt.want) {
					t.Errorf("%s: booted %q, want %q", tt.name, got, tt.want)
				}
			}
		})
	}
}

// The class of a Create sets a permanent boot source.
func TestCreateWithNetworkBoot(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	class := wanted("web-2")
	class.UserData, class.ClassJson = nil, `{"CPU":2,"MemoryMiB":2048,"DiskDefaults":{"SizeGiB":20},"ExtraConfig":{"truenas.io/boot":"network"}}`
	class.NetworksJson = `[{"Bridge":"br0"}]`
	create := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Create(ctx, class)
		return err
	}
	on := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Power(ctx, &providerv1.PowerRequest{Id: idOfWeb2, Op: providerv1.PowerOp_POWER_OP_ON})
		return err
	}
	b.must(b.do(create, on, create))
	b.booted("network")
	client, stop := startProvider(t, b.address, bootingNetwork)
	defer stop()
	vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: idOfWeb2})
	if err != nil || !strings.Contains(vm.GetProviderRawJson(), `"boot":"network"`) {
		t.Errorf("%v %v", vm, err)
	}
}

func TestBootRefusals(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "27")
	without, stop := startProvider(t, b.address)
	defer stop()
	refusedWith(t, setBoot("boot_once", "network")(t.Context(), without), "FailedPrecondition", "network.boot_iso")
	refusedWith(t, setBoot("boot", "network")(t.Context(), without), "FailedPrecondition", "network.boot_iso")
	with, stop := startProvider(t, b.address, bootingNetwork)
	defer stop()
	refusedWith(t, setBoot("boot_once", "cdrom")(t.Context(), with), "FailedPrecondition", "no CD-ROM")
	refusedWith(t, setBoot("boot_once", "floppy")(t.Context(), with), "InvalidArgument", "allowed are disk, network, cdrom, none")
	refusedWith(t, setBoot("clock", "utc")(t.Context(), with), "InvalidArgument", "truenas.io/boot_once")
	whole := wanted("web-2")
	whole.ClassJson = `{"CPU":2,"MemoryMiB":2048,"DiskDefaults":{"SizeGiB":20},"ExtraConfig":{"truenas.io/boot_once":"network"}}`
	_, err := with.Create(t.Context(), whole)
	refusedWith(t, err, "InvalidArgument", "applied repeatedly")
	b.must(b.do(setBoot("boot_once", "network"), turnOff))
	b.must(turnOn(t.Context(), with))
	b.must(setBoot("boot_once", "network")(t.Context(), with))
	refusedWith(t, powerWeb1(providerv1.PowerOp_POWER_OP_REBOOT)(t.Context(), with), "FailedPrecondition", "once")
	b.booted("network")
}

// The image for network boot was not copied to the NAS, or was deleted there. The provider records no impossible boot source.
func TestNetworkBootWithoutItsImage(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	client, stop := startProvider(t, b.address, func(c *server.Config) { c.NetworkBootISO = "/mnt/tank/iso/none.iso" })
	defer stop()
	for _, setting := range []string{"boot", "boot_once"} {
		refusedWith(t, setBoot(setting, "network")(t.Context(), client), "FailedPrecondition", "/mnt/tank/iso/none.iso, which is not on the NAS")
	}
	b.must(turnOn(t.Context(), client))
	b.must(turnOff(t.Context(), client))
	b.must(b.do(setBoot("boot_once", "network"))) // by a provider whose image exists
	refusedWith(t, turnOn(t.Context(), client), "FailedPrecondition", "none.iso")
	b.must(b.do(turnOn, turnOff, turnOn))
	b.booted("disk", "network", "disk")
}

// A once is booted exactly once, for each call at which the provider dies and each result of that call, and for each later sequence
// of power operations.
func TestOnceIsBootedExactlyOnce(t *testing.T) {
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			reference := newBootable(t, release)
			reference.must(reference.do(setBoot("boot_once", "network")))
			reference.nas.ResetCalls()
			reference.must(reference.do(turnOn))
			points := map[string]func(*testing.T){}
			for n, method := range reference.nas.Calls() {
				for name, then := range map[string]sim.Action{"cut before": sim.CutBefore, "cut after": sim.CutAfter} {
					points[fmt.Sprintf("%s call %d, %s", name, n+1, method)] = func(t *testing.T) { onceAfterFault(t, release, sim.Fault{Then: then, Nth: n + 1}) }
				}
			}
			sampling.Run(t, points)
		})
	}
}

func onceAfterFault(t *testing.T, release string, f sim.Fault) {
	t.Helper()
	b := newBootable(t, release)
	b.must(b.do(setBoot("boot_once", "network")))
	b.nas.Inject(f)
	err := errors.New("not tried")
	for try := 0; err != nil && try < tries; try++ {
		err = b.do(turnOn)
	}
	if err == nil {
		err = b.do(turnOff, turnOn, turnOff, turnOn)
	}
	if got := b.starts.seen(); err != nil || !slices.Equal(got, []string{"network", "disk", "disk"}) {
		t.Errorf("booted %q, %v", got, err)
	}
}

// dieAfterStart turns the VM on with a provider that dies right after the start of the VM.
func (b *bootable) dieAfterStart() {
	b.t.Helper()
	client, stop := startProvider(b.t, b.address, bootingNetwork)
	defer stop()
	ctx, cancel := context.WithCancel(b.t.Context())
	defer cancel()
	started := false
	b.nas.OnCall(func(_ int, method string) {
		if started {
			b.nas.CutConnections()
			cancel()
		}
		started = started || method == "vm.start"
	})
	defer b.nas.OnCall(nil)
	if err := turnOn(ctx, client); err == nil {
		b.t.Error("the provider did not die")
	}
}

// The provider dies after the start, and the guest shuts down before another provider reads its state: the once was used.
func TestOnceUsedBeforeACrash(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		b := newBootable(t, release)
		b.must(b.do(setBoot("boot_once", "network")))
		b.dieAfterStart()
		b.nas.PowerOffGuest("web_1")
		b.must(b.do(turnOn))
		b.booted("network", "disk")
	}
}

// onceAfterAFailedStart returns a VM whose start with a once has failed.
func onceAfterAFailedStart(t *testing.T, release string) *bootable {
	t.Helper()
	b := newBootable(t, release)
	b.must(b.do(setBoot("boot_once", "network")))
	b.starts.fail = errors.New("no space left on device")
	if err := b.do(turnOn); err == nil {
		t.Errorf("%s: the start did not fail", release)
	}
	return b
}

// QEMU does not start. The log has grown, and the once is still pending.
func TestOnceWhoseStartFailed(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		b := onceAfterAFailedStart(t, release)
		b.must(b.do(turnOn, turnOff, turnOn))
		b.booted("network", "disk")
	}
}

// A start fails, and a user starts the VM on the NAS: it boots its permanent source, and the once is still pending.
func TestOnceAfterAFailedStartIsNotBootedByOthers(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		b := onceAfterAFailedStart(t, release)
		b.startByHand()
		b.must(b.do(turnOn, turnOff, turnOn, turnOff, turnOn))
		b.booted("disk", "network", "disk")
	}
}

// startByHand starts the VM as the web interface of the NAS does.
func (b *bootable) startByHand() {
	b.t.Helper()
	api, err := truenas.New(truenastest.Config(b.address))
	b.must(err)
	defer func() { b.must(api.Close()) }()
	vm, err := api.VMs.ByName(b.t.Context(), "web_1")
	b.must(err)
	b.must(api.VMs.Start(b.t.Context(), vm.ID, false))
}

// One replica writes new tags, which share the description with the once, while another sets the once or uses it: neither change is
// lost.
func TestOnceBesideAChangeOfTags(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		before, meanwhile request
		want              []string
	}{
		"set meanwhile":  {nil, setBoot("boot_once", "network"), []string{"network", "disk"}},
		"used meanwhile": {setBoot("boot_once", "network"), turnOn, []string{"network", "disk", "disk"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBootable(t, "25.10")
			if tt.before != nil {
				b.must(b.do(tt.before))
			}
			b.besideTags(tt.meanwhile)
			b.must(b.do(turnOff, turnOn, turnOff, turnOn))
			b.booted(tt.want...)
		})
	}
}

// besideTags changes the tags with one replica, and makes another request at the moment of the write.
func (b *bootable) besideTags(other request) {
	b.t.Helper()
	first, stop := startProvider(b.t, b.address, bootingNetwork, func(c *server.Config) { c.Instance = "replica-1" })
	defer stop()
	second, stop := startProvider(b.t, b.address, bootingNetwork, func(c *server.Config) { c.Instance = "replica-2" })
	defer stop()
	writes := make(chan struct{})
	begun := sync.OnceFunc(func() { close(writes) })
	b.nas.OnCall(func(_ int, method string) {
		if method == "vm.update" {
			begun()
		}
	})
	b.nas.Inject(sim.Fault{Method: "vm.update", Then: sim.Delay, Delay: time.Second})
	var both sync.WaitGroup
	both.Go(func() {
		if err := retagged(b.t.Context(), first); err != nil {
			b.t.Error(err)
		}
		begun() // The first attempt has failed before.
	})
	both.Go(func() {
		<-writes
		err := errors.New("not tried")
		for try := 0; err != nil && try < replicaTry; try++ {
			if err = other(b.t.Context(), second); err != nil {
				time.Sleep(replicaGap)
			}
		}
		if err != nil {
			b.t.Error(err)
		}
	})
	both.Wait()
	b.nas.OnCall(nil)
	if text := fmt.Sprint(b.nas.VMs()[0].Config["description"]); !strings.Contains(text, "edge") {
		b.t.Errorf("the tags are not in %s", text)
	}
}

func retagged(ctx context.Context, client providerv1.ProviderClient) error {
	const desired = `{"Name":"web-1","Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI"},"Networks":[{"Bridge":"br0"},{"Bridge":"br20"}],"Disks":[{"SizeGiB":5,"Type":"thin","Name":"data"}],"Tags":["edge"]}`
	_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: desired})
	return err
}

// A repeated Create writes a changed description. It keeps the once that another replica has recorded in the meantime.
func TestOnceBesideARepeatedCreate(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	client, stop := startProvider(t, b.address, bootingNetwork)
	defer stop()
	b.nas.OnCall(func(_ int, method string) {
		if method == "vm.get_instance" || method == "vm.update" {
			b.nas.OnCall(nil)
			b.must(b.do(setBoot("boot_once", "network")))
		}
	})
	again := wanted("web-1")
	again.Tags = []string{"edge"}
	_, err := client.Create(t.Context(), again)
	b.must(err)
	b.must(b.do(turnOn, turnOff, turnOn))
	b.booted("network", "disk")
}

// After a provider has died after the start with a once, Describe does not report the once.
func TestUsedOnceIsNotReported(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	b.must(b.do(setBoot("boot_once", "network")))
	b.dieAfterStart()
	client, stop := startProvider(t, b.address, bootingNetwork)
	defer stop()
	vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
	if err != nil || vm.GetPowerState() != "On" || strings.Contains(vm.GetProviderRawJson(), "boot_once") {
		t.Errorf("%v %v", vm, err)
	}
}

// While a once is pending, the VM does not start with the NAS, because that would be another start.
func TestOnceDoesNotStartWithTheNAS(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	b.must(b.do(setBoot("boot_once", "network")))
	b.dieAfterStart()
	if vm := b.nas.VMs()[0]; vm.Config["autostart"] != false {
		t.Error("the VM would be started with its once again")
	}
	b.must(b.do(turnOn))
	if vm := b.nas.VMs()[0]; vm.Config["autostart"] != true {
		t.Error("the VM does not start with the NAS")
	}
}

// Another replica sets a once, or boots it, and the NAS is late to report it.
func TestOnceOfAnotherReplicaWhoseEventIsLate(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			b := newBootable(t, release)
			client, stop := startProvider(t, b.address, bootingNetwork)
			defer stop()
			b.must(turnOn(t.Context(), client))
			b.must(turnOff(t.Context(), client))
			report := b.nas.HoldEvents("vm.query")
			b.must(b.do(setBoot("boot_once", "network")))
			b.must(turnOn(t.Context(), client))
			report()
			b.booted("disk", "network")

			b.must(turnOff(t.Context(), client))
			b.must(setBoot("boot_once", "network")(t.Context(), client))
			report = b.nas.HoldEvents("vm.query")
			b.must(b.do(turnOn, turnOff))
			b.must(setBoot("boot_once", "network")(t.Context(), client))
			report()
			b.must(b.do(turnOn))
			b.booted("disk", "network", "network", "network")
		})
	}
}

// A manager repeats its class at each reconcile. A request that the VM meets already costs one call, which looks for the lock of a
// replica.
func TestRepeatedBootCostsOneCall(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			b := newBootable(t, release)
			client, stop := startProvider(t, b.address, bootingNetwork)
			defer stop()
			calls := func(extra string) []string {
				desired := `{"Name":"web-1","Class":{"CPU":2,"MemoryMiB":2048,"Firmware":"UEFI","ExtraConfig":{` + extra + `}},"Networks":[{"Bridge":"br0"},{"Bridge":"br20"}],"Disks":[{"SizeGiB":5,"Type":"thin","Name":"data"}]}`
				b.nas.ResetCalls()
				b.must(reconfigured(t, client, idOfWeb1, desired))
				list := b.nas.Calls()
				slices.Sort(list) // Some calls run in parallel.
				return list
			}
			b.must(turnOn(t.Context(), client))
			for _, source := range []string{"network", "disk"} {
				asked := calls(`"truenas.io/boot":"` + source + `"`)
				repeated, want := calls(`"truenas.io/boot":"`+source+`"`), append(calls(""), "pool.dataset.get_instance")
				slices.Sort(want)
				if len(asked) <= len(want) || !slices.Equal(repeated, want) {
					t.Errorf("%s: asked by %q, repeated by %q, want %q", source, asked, repeated, want)
				}
			}
		})
	}
}

// A provider that stops leaves its lock behind. The caller gets an error, so that the retry removes the lock.
func TestBootLockLeftByAProviderThatStops(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "26")
	api, err := truenas.New(truenastest.Config(b.address))
	b.must(err)
	t.Cleanup(func() { _ = api.Close() })
	client, s := serve(t, api, bootingNetwork)
	b.nas.OnCall(func(_ int, method string) {
		if method == "vm.device.create" {
			_ = s.Close()
		}
	})
	refusedWith(t, setBoot("boot", "network")(t.Context(), client), "Unavailable", "")
	b.nas.OnCall(nil)
	b.must(b.do(setBoot("boot", "network")))
	if left := below(b.nas.State(), "tank/virtrigaud/staging/"); len(left) > 0 {
		t.Errorf("leftovers: %v", left)
	}
}

// A start for a once writes the VM's record twice: before the start, and after it together with autostart. Each further write is
// an event for all clients of the NAS, and a moment at which the provider may die.
func TestStartForAOnceWritesTheRecordTwice(t *testing.T) {
	t.Parallel()
	b := newBootable(t, "25.10")
	b.must(b.do(setBoot("boot_once", "network")))
	b.nas.ResetCalls()
	b.must(b.do(turnOn))
	updates := 0
	for _, call := range b.nas.Calls() {
		if call == "vm.update" {
			updates++
		}
	}
	if vm := b.nas.VMs()[0]; updates != 2 || vm.Config["autostart"] != true {
		t.Errorf("%d writes, autostart %v; want 2, true", updates, vm.Config["autostart"])
	}
}
