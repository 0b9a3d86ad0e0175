package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
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

const (
	mediaISO  = "/mnt/tank/templates/debian.iso"
	otherISO  = "/mnt/tank/templates/talos.iso"
	mediaSize = 1 << 16
)

// withMedia makes a blank VM and two ISOs.
func withMedia(t *testing.T, client providerv1.ProviderClient, nas *sim.Sim) {
	t.Helper()
	if err := errors.Join(nas.AddDataset("tank/templates", nil), nas.AddFile(mediaISO, mediaSize), nas.AddFile(otherISO, mediaSize)); err != nil {
		t.Fatal(err)
	}
	if err := createBlank(t.Context(), client); err != nil {
		t.Fatal(err)
	}
}

// setMedia requests an ISO until it is inserted.
func setMedia(iso string) request {
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		for {
			resp, err := setMediaJSON(ctx, client, iso, "")
			if err != nil || resp.GetTask() == nil {
				return err
			}
			if err := awaited(ctx, client, resp.GetTask()); err != nil {
				return err
			}
		}
	}
}

func setMediaJSON(ctx context.Context, client providerv1.ProviderClient, iso, checksum string) (*providerv1.TaskResponse, error) {
	desired := fmt.Sprintf(`{"Name":"web-1","Class":{"ExtraConfig":{"truenas.io/media":%q,"truenas.io/media_checksum":%q}}}`, iso, checksum)
	return client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: desired})
}

// mediaOperations returns sweeps of inserts and ejects. The test serves the ISO of a URL.
func mediaOperations(t *testing.T) []operation {
	url := serveFiles(t, map[string][]byte{"installer.iso": installerISO()}) + "/installer.iso"
	media := setting(withMedia)
	return []operation{
		{name: "Insert media", rpcs: []string{"Reconfigure"}, prepare: withMedia, run: setMedia(mediaISO)},
		{name: "Insert media of a URL", rpcs: []string{"Reconfigure", "TaskStatus"}, prepare: withMedia, run: setMedia(url)},
		{name: "Insert other media", rpcs: []string{"Reconfigure"}, prepare: media.after(setMedia(mediaISO)), run: setMedia(otherISO)},
		{name: "Insert other media while the VM runs", rpcs: []string{"Reconfigure"}, prepare: media.after(setMedia(mediaISO), turnOn), run: setMedia(otherISO)},
		{name: "Eject media", rpcs: []string{"Reconfigure"}, prepare: media.after(setMedia(mediaISO)), run: setMedia("none")},
		{name: "Eject media while the VM runs", rpcs: []string{"Reconfigure"}, prepare: media.after(setMedia(mediaISO), setBoot("boot", "cdrom"), turnOn), run: setMedia("none")},
		{name: "Power on after an eject", rpcs: []string{"Power"}, prepare: media.after(setMedia(mediaISO), turnOn, setMedia("none"), powerWeb1(providerv1.PowerOp_POWER_OP_OFF)), run: turnOn},
		{name: "Delete with media", rpcs: []string{"Delete"}, prepare: media.after(setMedia(mediaISO)), run: deleteVM(idOfWeb1)},
	}
}

// drivesOf returns the files in the CD-ROM drives of web-1, in boot order, with the position of the disks among them.
func drivesOf(t *testing.T, nas *sim.Sim) []string {
	t.Helper()
	var list []string
	for _, vm := range nas.VMs() {
		if vm.Name != "web_1" {
			continue
		}
		devices := slices.Clone(vm.Devices)
		slices.SortStableFunc(devices, func(a, b sim.DeviceState) int { return a.Order - b.Order })
		for _, d := range devices {
			switch path := fmt.Sprint(d.Attributes["path"]); d.Attributes["dtype"] {
			case "CDROM":
				list = append(list, path)
			case "DISK":
				list = append(list, "disk")
			}
		}
	}
	return slices.Compact(list) // All disks count as one.
}

func describedMedia(t *testing.T, client providerv1.ProviderClient) string {
	t.Helper()
	vm, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: idOfWeb1})
	var raw map[string]string
	if err != nil || json.Unmarshal([]byte(vm.GetProviderRawJson()), &raw) != nil {
		t.Fatalf("Describe: %v %v", vm, err)
	}
	return raw["media"]
}

// mediaWorld is a NAS that records its starts, with ISOs and a blank VM.
func mediaWorld(t *testing.T, release string) (*bootable, providerv1.ProviderClient) {
	t.Helper()
	b := newBootable(t, release)
	b.must(errors.Join(b.nas.AddDataset("tank/templates", nil), b.nas.AddFile(mediaISO, mediaSize), b.nas.AddFile(otherISO, mediaSize)))
	client, stop := startProvider(t, b.address, bootingNetwork)
	t.Cleanup(stop)
	return b, client
}

func TestInsertAndEjectMedia(t *testing.T) {
	t.Parallel()
	for _, release := range releases {
		t.Run(release, func(t *testing.T) {
			t.Parallel()
			b, client := mediaWorld(t, release)
			for _, tt := range []struct {
				name   string
				do     request
				drives []string
				media  string
				booted string
			}{
				{"insert", setMedia(mediaISO), []string{"disk", mediaISO}, mediaISO, ""},
				{"insert again", setMedia(mediaISO), []string{"disk", mediaISO}, mediaISO, ""},
				{"the disk is booted", turnOn, []string{"disk", mediaISO}, mediaISO, "disk"},
				{"insert another while the VM runs", setMedia(otherISO), []string{"disk", mediaISO, otherISO}, otherISO, ""},
				{"boot it once", setBoot("boot_once", "cdrom"), []string{"disk", mediaISO, otherISO}, otherISO, ""},
				{"off", turnOff, []string{"disk", mediaISO, otherISO}, otherISO, ""},
				{"the first one leaves before the start", turnOn, []string{"disk", otherISO}, otherISO, "cdrom"},
				{"eject while the VM runs", setMedia("none"), []string{"disk", otherISO}, "", ""},
				{"eject again", setMedia("none"), []string{"disk", otherISO}, "", ""},
				{"off", turnOff, []string{"disk", otherISO}, "", ""},
				{"it leaves before the start", turnOn, []string{"disk"}, "", "disk"},
				{"off", turnOff, []string{"disk"}, "", ""},
				{"insert", setMedia(otherISO), []string{"disk", otherISO}, otherISO, ""},
				{"replace while the VM is off", setMedia(mediaISO), []string{"disk", mediaISO}, mediaISO, ""},
				{"boot it always", setBoot("boot", "cdrom"), []string{mediaISO, "disk"}, mediaISO, ""},
				{"always", turnOn, []string{mediaISO, "disk"}, mediaISO, "cdrom"},
				{"eject while the VM runs", setMedia("none"), []string{"disk", mediaISO}, "", ""},
				{"off", turnOff, []string{"disk", mediaISO}, "", ""},
				{"an empty drive boots the disk", turnOn, []string{"disk"}, "", "disk"},
			} {
				before := len(b.starts.seen())
				b.must(tt.do(t.Context(), client))
				if got := drivesOf(t, b.nas); !slices.Equal(got, tt.drives) {
					t.Errorf("%s: the devices are %q, want %q", tt.name, got, tt.drives)
				}
				if got := describedMedia(t, client); got != tt.media {
					t.Errorf("%s: Describe says %q, want %q", tt.name, got, tt.media)
				}
				if got := b.starts.seen()[before:]; strings.Join(got, ",") != tt.booted {
					t.Errorf("%s: booted %q, want %q", tt.name, got, tt.booted)
				}
			}
		})
	}
}

// The response shows a manager that a running VM sees the change at its next start.
func TestMediaNeedARestart(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "25.10")
	asked := func(iso string, want bool) {
		t.Helper()
		resp, err := setMediaJSON(t.Context(), client, iso, "")
		if err != nil || resp.GetRestartRequired() != want || !resp.GetHonestResult() {
			t.Errorf("%s: %v %v", iso, resp, err)
		}
	}
	asked(mediaISO, false)
	b.must(turnOn(t.Context(), client))
	asked(mediaISO, false) // It is inserted already.
	asked(otherISO, true)
	asked("none", true)
}

// A request that the VM meets already costs one call of the NAS, besides the reading of the VM and of the file.
func TestRepeatedMediaChangeNothing(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "26")
	b.must(setMedia(mediaISO)(t.Context(), client))
	b.nas.ResetCalls()
	b.must(setMedia(mediaISO)(t.Context(), client))
	if calls := b.nas.Calls(); len(calls) != 3 || slices.ContainsFunc(calls, func(c string) bool {
		return !strings.Contains(c, "get_instance") && !strings.Contains(c, "query") && !strings.Contains(c, "stat")
	}) {
		t.Errorf("%q", calls)
	}
}

// A repeated Create, a complete Reconfigure and a boot override keep the contents of the drive.
func TestOtherRequestsKeepMedia(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "27")
	b.must(b.do(setMedia(mediaISO)))
	whole := func(ctx context.Context, client providerv1.ProviderClient) error {
		_, err := client.Reconfigure(ctx, &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: `{"Name":"web-1","Class":{"CPU":4,"MemoryMiB":4096,"Firmware":"UEFI"},"Networks":[{"Bridge":"br0"},{"Bridge":"br20"}],"Disks":[{"SizeGiB":6,"Type":"thin","Name":"data"}],"Tags":["x"]}`})
		return err
	}
	for _, step := range []request{createBlank, whole, setBoot("boot", "network"), setBoot("boot", "disk"), turnOn, turnOff} {
		b.must(step(t.Context(), client))
		if got := describedMedia(t, client); got != mediaISO {
			t.Fatalf("the drive holds %q", got)
		}
	}
}

func TestMediaRefusals(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "25.10")
	refused := func(iso, checksum, code, text string) {
		t.Helper()
		before := b.nas.State()
		_, err := setMediaJSON(t.Context(), client, iso, checksum)
		refusedWith(t, err, code, text)
		if changed := changes(t, settled(before), settled(b.nas.State())); changed != "" {
			t.Errorf("%s changed the NAS: %s", iso, changed)
		}
		if secret := "hunter2"; strings.Contains(fmt.Sprint(err), secret) {
			t.Errorf("the error repeats a password: %v", err)
		}
	}
	for _, iso := range []string{"debian.iso", "/etc/passwd", "nas:/mnt/tank/templates/debian.iso", "file:///mnt/a.iso", "nfs://nas/a.iso", "https:///a.iso", "/mnt/tank/templates/debian.img"} {
		refused(iso, "", "InvalidArgument", "truenas.io/media")
	}
	refused("https://user:hunter2@example.com/a.iso", "", "InvalidArgument", "user name or a password")
	refused("/mnt/tank/iso/other.iso", "", "InvalidArgument", "images.nas_paths")
	refused("/mnt/tank/templates/../iso/ipxe.iso", "", "InvalidArgument", "images.nas_paths")
	refused("/mnt/tank/templates/none.iso", "", "FailedPrecondition", "is not on the NAS")
	refused(mediaISO, "sha256:"+strings.Repeat("a", 64), "InvalidArgument", "media_checksum")
	refused("", "sha256:"+strings.Repeat("a", 64), "InvalidArgument", "media_checksum")
	refused("https://example.com/a.iso", "sha256:abc", "InvalidArgument", "hexadecimal")
	refused("http://169.254.169.254/a.iso", "", "FailedPrecondition", "169.254.169.254 is a link-local address")
	b.must(b.do(setMedia(mediaISO)))
	_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: idOfWeb1, DesiredJson: `{"Class":{"ExtraConfig":{"truenas.io/media":"none","truenas.io/boot_once":"cdrom"}}}`})
	refusedWith(t, err, "InvalidArgument", "ejects")
	class := wanted("web-2")
	class.UserData, class.ClassJson = nil, `{"CPU":2,"MemoryMiB":2048,"DiskDefaults":{"SizeGiB":20},"ExtraConfig":{"truenas.io/media":"`+mediaISO+`"}}`
	_, err = client.Create(t.Context(), class)
	refusedWith(t, err, "InvalidArgument", "applied repeatedly")
}

// A drive that Create or a user made stays after any eject.
func TestMediaKeepOtherDrives(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "25.10")
	class := wanted("web-2")
	class.UserData, class.NetworksJson = nil, `[{"Bridge":"br0"}]`
	class.ClassJson = `{"CPU":2,"MemoryMiB":2048,"DiskDefaults":{"SizeGiB":20},"ExtraConfig":{"truenas.io/cdrom":"` + mediaISO + `"}}`
	made, err := client.Create(t.Context(), class)
	b.must(err)
	ask := func(iso string) error {
		_, err := client.Reconfigure(t.Context(), &providerv1.ReconfigureRequest{Id: made.GetId(), DesiredJson: fmt.Sprintf(`{"Class":{"ExtraConfig":{"truenas.io/media":%q}}}`, iso)})
		return err
	}
	refusedWith(t, ask(mediaISO), "FailedPrecondition", "another drive")
	b.must(ask(otherISO))
	b.must(ask("none"))
	if cdroms, _ := drives(t, b.nas, "web_2"); !slices.Equal(cdroms, []string{mediaISO}) {
		t.Errorf("the drives hold %q", cdroms)
	}
}

// The ISO of a URL lands like that of Create: verified, kept for other VMs, and removed when no VM uses it.
func TestMediaOfAURL(t *testing.T) {
	t.Parallel()
	b, _ := mediaWorld(t, "25.10")
	iso := installerISO()
	url := serveFiles(t, map[string][]byte{"a.iso": iso, "disk.qcow2": sample(t, "v3.qcow2"), "b.iso": iso}) + "/"
	api, err := truenas.New(truenastest.Config(b.address))
	b.must(err)
	t.Cleanup(func() { _ = api.Close() })
	client, s := serve(t, api, loopbackImages)
	ctx := t.Context()
	b.must(setMedia(url+"a.iso")(ctx, client))
	if got := describedMedia(t, client); got != url+"a.iso" {
		t.Errorf("Describe says %q", got)
	}
	if got := drivesOf(t, b.nas); len(got) != 2 || !strings.HasPrefix(got[1], "/mnt/tank/virtrigaud/images/") {
		t.Errorf("the devices are %q", got)
	}
	_, err = setMediaJSON(ctx, client, url+"disk.qcow2", "")
	refusedWith(t, err, "InvalidArgument", "iso")
	refusedWith(t, sumUntilEnd(ctx, client, url+"b.iso", "sha256:"+strings.Repeat("a", 64)), "FailedPrecondition", "checksum")
	if got := describedMedia(t, client); got != url+"a.iso" {
		t.Errorf("a refused ISO replaced %q", got)
	}
	b.must(sumUntilEnd(ctx, client, url+"b.iso", "sha256:"+sha256Hex(iso)))
	unused := func(want int) {
		t.Helper()
		list, err := s.PruneImages(ctx, -time.Hour, true)
		if err != nil || len(list) != want {
			t.Errorf("%d images are unused, want %d: %v", len(list), want, err)
		}
	}
	unused(2) // The replaced ISO, and the one with another checksum.
	b.must(setMedia("none")(ctx, client))
	unused(3)
	b.must(setMedia(url+"a.iso")(ctx, client))
	unused(2)
	b.must(deleteVM(idOfWeb1)(ctx, client))
	unused(3)
}

// sumUntilEnd requests an ISO with a checksum until it is inserted or refused.
func sumUntilEnd(ctx context.Context, client providerv1.ProviderClient, iso, checksum string) error {
	for {
		resp, err := setMediaJSON(ctx, client, iso, checksum)
		if err != nil || resp.GetTask() == nil {
			return err
		}
		if err := awaited(ctx, client, resp.GetTask()); err != nil {
			return err
		}
	}
}

// setMediaWithSum requests an ISO at a URL with its checksum.
func setMediaWithSum(t *testing.T) request {
	iso := installerISO()
	url := serveFiles(t, map[string][]byte{"a.iso": iso}) + "/a.iso"
	return func(ctx context.Context, client providerv1.ProviderClient) error {
		return sumUntilEnd(ctx, client, url, "sha256:"+sha256Hex(iso))
	}
}

// A long landing does not block the caller: the response is a task.
func TestLongMediaLandingIsATask(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "26")
	iso, rest := installerISO(), make(chan struct{})
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", fmt.Sprint(len(iso)))
		_, _ = w.Write(iso[:1<<20])
		w.(http.Flusher).Flush()
		<-rest
		_, _ = w.Write(iso[1<<20:])
		_, _ = io.Copy(io.Discard, r.Body)
	}))
	t.Cleanup(web.Close)
	resp, err := setMediaJSON(t.Context(), client, web.URL+"/a.iso", "")
	if err != nil || !strings.HasPrefix(resp.GetTask().GetId(), "image/tank/") {
		close(rest)
		t.Fatalf("%v %v", resp, err)
	}
	answer, err := client.TaskStatus(t.Context(), &providerv1.TaskStatusRequest{Task: resp.GetTask()})
	if err != nil || answer.GetDone() || describedMedia(t, client) != "" {
		t.Errorf("%v %v", answer, err)
	}
	close(rest)
	b.must(awaited(t.Context(), client, resp.GetTask()))
	b.must(setMedia(web.URL+"/a.iso")(t.Context(), client))
	if got := drivesOf(t, b.nas); len(got) != 2 {
		t.Errorf("the devices are %q", got)
	}
}

// Two replicas with concurrent inserts leave one drive.
func TestTwoReplicasInsertAtOnce(t *testing.T) {
	t.Parallel()
	b, first := mediaWorld(t, "25.10")
	second, stop := startProvider(t, b.address, bootingNetwork, func(c *server.Config) { c.Instance = "replica-2" })
	defer stop()
	for round, iso := range []string{mediaISO, otherISO, mediaISO, "none"} {
		errs := make(chan error, 2)
		for _, client := range []providerv1.ProviderClient{first, second} {
			go func() { errs <- setMedia(iso)(t.Context(), client) }()
		}
		for range 2 {
			if err := <-errs; status.Code(err) != codes.OK && status.Code(err) != codes.Aborted && status.Code(err) != codes.Unavailable {
				t.Errorf("round %d: %v", round, err)
			}
		}
		b.must(setMedia(iso)(t.Context(), first))
		want := []string{"disk", iso}
		if iso == "none" {
			want = want[:1]
		}
		if got := drivesOf(t, b.nas); !slices.Equal(got, want) {
			t.Errorf("round %d: the devices are %q", round, got)
		}
	}
}

// An ISO that was deleted on the NAS right after its arrival is downloaded again.
func TestMediaDeletedOnTheNASArriveAgain(t *testing.T) {
	t.Parallel()
	b, client := mediaWorld(t, "25.10")
	url := serveFiles(t, map[string][]byte{"a.iso": installerISO()}) + "/a.iso"
	b.must(setMedia(url)(t.Context(), client))
	b.must(setMedia("none")(t.Context(), client))
	for _, d := range below(b.nas.State(), "tank/virtrigaud/images/") {
		if strings.HasSuffix(d, "/disk") {
			b.must(b.nas.RemoveDataset(d))
		}
	}
	b.must(setMedia(url)(t.Context(), client))
	if got := drivesOf(t, b.nas); len(got) != 2 {
		t.Errorf("the devices are %q", got)
	}
}
