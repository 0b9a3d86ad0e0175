package check

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/bmc-toolbox/bmclib/v2"
	"github.com/go-logr/logr"
	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	core "k8s.io/api/core/v1"
)

// bmclib is the client of Tinkerbell. It needs an older gofish than the tests of the service, so the test is in this separate
// module and uses the program over HTTP.
const bmcPassword = "correct horse"

// serveRedfish starts the provider on a simulated NAS, with the accounts that the chart makes from its values, and returns the
// ports of Redfish and of the RPCs.
func serveRedfish(t *testing.T) (redfish, rpc string) {
	t.Helper()
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(bin, "virtrigaud-provider-truenas")
	hashing := exec.Command(program, "hash")
	hashing.Stdin = strings.NewReader(bmcPassword)
	hash, err := hashing.Output()
	if err != nil {
		t.Fatal(err)
	}
	values := examplesOf(t, providerChart)["least.yaml"]
	values["redfish"] = map[string]any{"enabled": true, "accounts": []any{
		map[string]any{"name": "bmc", "passwordHash": strings.TrimSpace(string(hash)), "role": "Operator", "systems": []any{"worker-1"}},
	}}
	accounts := filepath.Join(t.TempDir(), "accounts.yaml")
	for _, s := range all[core.Secret](rendered(t, providerChart, values)) {
		if text := s.StringData["redfish-accounts.yaml"]; text != "" {
			err = os.WriteFile(accounts, []byte(text), 0o600)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "--simulator", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0",
		"--redfish-listen", "127.0.0.1:0", "--redfish-accounts-file", accounts, "--images-allow-addresses", "127.0.0.0/8", "--log-format", "json")
	log, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	address := regexp.MustCompile(`"msg":"serving( Redfish)?".*"address":"127\.0\.0\.1:(\d+)"`)
	for lines := bufio.NewScanner(log); lines.Scan(); {
		found := address.FindStringSubmatch(lines.Text())
		switch {
		case found == nil:
		case found[1] != "":
			redfish = found[2]
		default:
			rpc = found[2]
		}
		if redfish != "" && rpc != "" {
			go func() { _, _ = io.Copy(io.Discard, log) }()
			return redfish, rpc
		}
	}
	t.Fatal("the provider does not serve Redfish")
	return "", ""
}

// serveISO serves the header of an ISO, by which images are recognized.
func serveISO(t *testing.T) (url string) {
	t.Helper()
	iso := make([]byte, 1<<20)
	copy(iso[0x8000:], "\x01CD001\x01")
	copy(iso[0x8000+80:], []byte{0, 2, 0, 0, 0, 0, 2, 0}) // 512 blocks of 2 KiB
	copy(iso[0x8000+128:], []byte{0, 8, 8, 0})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(string(iso)))
	}))
	t.Cleanup(web.Close)
	return web.URL + "/hook.iso"
}

func TestBmclib(t *testing.T) {
	redfish, rpc := serveRedfish(t)
	conn, err := grpc.NewClient("127.0.0.1:"+rpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	provider := providerv1.NewProviderClient(conn)
	made, err := provider.Create(ctx, &providerv1.CreateRequest{
		Name: "worker-1", ClassJson: `{"CPU":2,"MemoryMiB":1024,"Firmware":"UEFI","DiskDefaults":{"SizeGiB":3}}`, NetworksJson: `[{"Name":"eth0","Bridge":"br0"}]`,
	}, grpc.WaitForReady(true))
	if err != nil {
		t.Fatal(err)
	}
	client := bmclib.NewClient("http://127.0.0.1", "bmc", bmcPassword, bmclib.WithRedfishPort(redfish), bmclib.WithLogger(logr.Discard()))
	client.Registry.Drivers = client.Registry.For("gofish")
	if err := client.Open(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close(context.WithoutCancel(ctx)) })
	state := func(want string) {
		t.Helper()
		if got, err := client.GetPowerState(ctx); err != nil || !strings.EqualFold(got, want) {
			t.Errorf("the power state is %q, %v, want %s", got, err, want)
		}
	}
	do := func(name string, ok bool, err error) {
		t.Helper()
		if err != nil || !ok {
			t.Fatalf("%s: %t, %v", name, ok, err)
		}
	}
	drive := func(want string) {
		t.Helper()
		vm, err := provider.Describe(ctx, &providerv1.DescribeRequest{Id: made.GetId()})
		var raw map[string]string
		if err != nil || json.Unmarshal([]byte(vm.GetProviderRawJson()), &raw) != nil || raw["media"] != want {
			t.Errorf("the drive has %q, want %q: %v", raw["media"], want, err)
		}
	}
	iso := serveISO(t)
	state("off")
	ok, err := client.SetVirtualMedia(ctx, "CD", iso)
	do("insert", ok, err)
	drive(iso)
	ok, err = client.SetBootDevice(ctx, "cdrom", false, true)
	do("boot the CD-ROM once", ok, err)
	if override, err := client.GetBootDeviceOverride(ctx); err != nil || override.IsPersistent || !override.IsEFIBoot || string(override.Device) != "cdrom" {
		t.Errorf("the override is %+v, %v", override, err)
	}
	ok, err = client.SetPowerState(ctx, "on")
	do("on", ok, err)
	state("on")
	if override, err := client.GetBootDeviceOverride(ctx); err != nil || string(override.Device) != "none" {
		t.Errorf("after the start the override is %+v, %v", override, err)
	}
	ok, err = client.SetVirtualMedia(ctx, "CD", "")
	do("eject", ok, err)
	drive("")
	for _, power := range []string{"cycle", "off", "on", "reset"} {
		ok, err = client.SetPowerState(ctx, power)
		do(power, ok, err)
	}
	state("on")
	ok, err = client.SetBootDevice(ctx, "disk", true, true)
	do("boot the disk", ok, err)
}
