package truenas_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"strings"
	"time"

	"virtrigaud-provider-truenas/truenas"
	"virtrigaud-provider-truenas/truenas/sim"
)

// simulated returns a client of a simulated NAS with the pool tank. A real application reads its configuration from its user.
func simulated() (c *truenas.Client, nas *sim.Sim, end func()) {
	nas, err := sim.New(sim.Config{Release: "25.10"})
	if err != nil {
		log.Fatal(err)
	}
	server, err := sim.Serve(nas, "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	c, err = truenas.New(truenas.Config{
		URL: server.URL, Fingerprint: server.Fingerprint, Username: sim.DefaultUser, APIKey: sim.DefaultAPIKey,
	})
	if err != nil {
		log.Fatal(err)
	}
	return c, nas, func() { _ = c.Close(); server.Close(); nas.Close() }
}

func Example() {
	c, _, end := simulated()
	defer end()
	ctx := context.Background()
	vm, err := c.VMs.Create(ctx, truenas.VMCreate{Name: "web_1", VCPUs: 2, MemoryMiB: 1024, ShutdownTimeout: 90})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.VMs.Start(ctx, vm.ID, false); err != nil {
		log.Fatal(err)
	}
	vm, err = c.VMs.ByName(ctx, "web_1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(vm.Name, vm.Status.State)
	// Output: web_1 RUNNING
}

func ExampleClient_Connect() {
	c, _, end := simulated()
	defer end()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := c.Connect(ctx); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Release())
	// Output: 25.10
}

func ExampleVMs_ByName() {
	c, _, end := simulated()
	defer end()
	_, err := c.VMs.ByName(context.Background(), "missing")
	fmt.Println(errors.Is(err, truenas.ErrNotFound))
	// Output: true
}

func ExampleVMs_Stop() {
	c, nas, end := simulated()
	defer end()
	ctx := context.Background()
	if err := errors.Join(nas.AddVM("web", 1, 512), nas.StartVM("web")); err != nil {
		log.Fatal(err)
	}
	vm, err := c.VMs.ByName(ctx, "web")
	if err != nil {
		log.Fatal(err)
	}
	if err := c.VMs.PowerOff(ctx, vm.ID); err != nil {
		log.Fatal(err)
	}
	vm, err = c.VMs.Get(ctx, vm.ID)
	fmt.Println(vm.Status.State, err)
	// Output: STOPPED <nil>
}

func ExampleVMs_List() {
	c, nas, end := simulated()
	defer end()
	if err := errors.Join(nas.AddVM("web", 1, 512), nas.AddVM("db", 2, 2048), nas.AddVM("cache", 1, 4096)); err != nil {
		log.Fatal(err)
	}
	large, err := c.VMs.List(context.Background(), truenas.Cond("memory", ">", 1024))
	if err != nil {
		log.Fatal(err)
	}
	for _, vm := range large {
		fmt.Println(vm.Name, vm.MemoryMiB)
	}
	// Unordered output:
	// db 2048
	// cache 4096
}

func ExampleDatasets_Create() {
	c, _, end := simulated()
	defer end()
	volume, err := c.Datasets.Create(context.Background(), truenas.DatasetCreate{
		Name: "tank/vms/web", Type: truenas.Volume, VolsizeBytes: 10 << 30, Sparse: true, CreateAncestors: true,
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(volume.ID, volume.Type)
	// Output: tank/vms/web VOLUME
}

func ExampleDatasets_Delete() {
	c, nas, end := simulated()
	defer end()
	ctx := context.Background()
	if err := nas.AddDataset("tank/old", nil); err != nil {
		log.Fatal(err)
	}
	fmt.Println(c.Datasets.Delete(ctx, "tank/old", truenas.DatasetDelete{}))
	_, err := c.Datasets.Get(ctx, "tank/old")
	fmt.Println(errors.Is(err, truenas.ErrNotFound))
	// Output:
	// <nil>
	// true
}

func ExampleSnapshots_Clone() {
	c, nas, end := simulated()
	defer end()
	ctx := context.Background()
	if err := nas.AddVolume("tank/golden", 1<<30, nil); err != nil {
		log.Fatal(err)
	}
	snapshot, err := c.Snapshots.Create(ctx, truenas.SnapshotCreate{Dataset: "tank/golden", Name: "ready"})
	if err != nil {
		log.Fatal(err)
	}
	if err := c.Snapshots.Clone(ctx, snapshot.ID, "tank/web", nil); err != nil {
		log.Fatal(err)
	}
	clone, err := c.Datasets.Get(ctx, "tank/web")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(snapshot.ID, clone.ID)
	// Output: tank/golden@ready tank/web
}

func ExampleFiles_Put() {
	c, nas, end := simulated()
	defer end()
	ctx := context.Background()
	if err := nas.AddDataset("tank/files", nil); err != nil {
		log.Fatal(err)
	}
	text := "hello\n"
	if err := c.Files.Put(ctx, "/mnt/tank/files/motd", 0o644, strings.NewReader(text), int64(len(text)), nil); err != nil {
		log.Fatal(err)
	}
	file, err := c.Files.Get(ctx, "/mnt/tank/files/motd")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	content, err := io.ReadAll(file)
	fmt.Printf("%s%v\n", content, err)
	// Output:
	// hello
	// <nil>
}

func ExampleSystem_Pools() {
	c, _, end := simulated()
	defer end()
	pools, err := c.System.Pools(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pools), pools[0].Name)
	// Output: 1 tank
}

func ExampleRetryable() {
	c, nas, end := simulated()
	defer end()
	nas.Inject(sim.Fault{Method: "vm.create", Then: sim.CutAfter})
	_, err := c.VMs.Create(context.Background(), truenas.VMCreate{Name: "web", MemoryMiB: 512})
	// The VM may exist, so look for it before another attempt.
	fmt.Println(errors.Is(err, truenas.ErrUncertain))
	// Output: true
}

func ExampleHolds() {
	fmt.Println(truenas.Holds([]string{"FULL_ADMIN"}, "VM_WRITE"))
	fmt.Println(truenas.Holds([]string{"VM_READ"}, "VM_WRITE"))
	// Output:
	// true
	// false
}
