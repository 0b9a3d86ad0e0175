package server_test

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"

	"virtrigaud-provider-truenas/server"
	"virtrigaud-provider-truenas/truenas/sim"
	"virtrigaud-provider-truenas/truenas/truenastest"
)

// screensOf returns the screens of the VM with that name.
func screensOf(nas *sim.Sim, vm string) []map[string]any {
	var list []map[string]any
	for _, m := range nas.VMs() {
		for _, d := range m.Devices {
			if m.Config["name"] == vm && d.Attributes["dtype"] == "DISPLAY" {
				list = append(list, d.Attributes)
			}
		}
	}
	return list
}

func described(t *testing.T, client providerv1.ProviderClient, id string) *providerv1.DescribeResponse {
	t.Helper()
	resp, err := client.Describe(t.Context(), &providerv1.DescribeRequest{Id: id})
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// A VM has no screen unless its class requests one, and Describe returns the URL for users.
func TestScreens(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		give   []string
		kind   string
		web    bool
		length int // of the password
		url    func(*url.URL) bool
	}{
		{nil, "", false, 0, nil},
		{[]string{"display=none"}, "", false, 0, nil},
		{[]string{"display=spice"}, "SPICE", true, 20, func(u *url.URL) bool {
			return strings.HasPrefix(u.Scheme, "http") && strings.HasPrefix(u.Path, "/vm/display/") && strings.HasSuffix(u.Path, "/spice_auto.html") && "/"+u.Query().Get("path")+"spice_auto.html" == u.Path
		}},
		{[]string{"display=vnc", "display_bind=0.0.0.0", "display_resolution=1280x720"}, "VNC", false, 8, func(u *url.URL) bool {
			return u.Scheme == "vnc" && u.Port() != "" && u.Hostname() != "0.0.0.0"
		}},
	} {
		for _, release := range allReleases {
			if tt.kind == "VNC" && release == "25.04.2" {
				continue
			}
			core, logs := observer.New(zapcore.DebugLevel)
			client, nas := onRelease(t, release, func(c *server.Config) { c.Logger = zap.New(core) })
			addImage(t, nas)
			var id string
			for range 2 { // The second Create keeps the password.
				resp, err := client.Create(t.Context(), withExtra(tt.give...))
				if err != nil {
					t.Fatalf("%s: %q: %v", release, tt.give, err)
				}
				id = resp.GetId()
			}
			screens, about := screensOf(nas, "web_1"), described(t, client, id)
			if tt.kind == "" {
				if len(screens) != 0 || about.GetConsoleUrl() != "" {
					t.Errorf("%s: %q: screens %v, console %q", release, tt.give, screens, about.GetConsoleUrl())
				}
				continue
			}
			if len(screens) != 1 || screens[0]["type"] != tt.kind || screens[0]["web"] != tt.web || len(screens[0]["password"].(string)) != tt.length {
				t.Fatalf("%s: %q: screens %v", release, tt.give, screens)
			}
			if u, err := url.Parse(about.GetConsoleUrl()); err != nil || !tt.url(u) {
				t.Errorf("%s: %q: console %q", release, tt.give, about.GetConsoleUrl())
			}
			checkSecret(t, screens[0]["password"].(string), about.String(), fmt.Sprint(logs.All()))
			secondPassword := func() string {
				if _, err := client.Create(t.Context(), withExtra(tt.give...)); err != nil {
					t.Fatal(err)
				}
				return screensOf(nas, "web_1")[0]["password"].(string)
			}
			if secondPassword() != screens[0]["password"] {
				t.Errorf("%s: another Create changed the password", release)
			}
		}
	}
}

func checkSecret(t *testing.T, secret string, shown ...string) {
	t.Helper()
	for _, text := range shown {
		if strings.Contains(text, secret) {
			t.Errorf("the password is in %q", text)
		}
	}
}

// Two VMs have different passwords.
func TestScreensHaveTheirOwnPasswords(t *testing.T) {
	t.Parallel()
	client, nas := onRelease(t, "25.10")
	addImage(t, nas)
	for _, name := range []string{"web-1", "web-2"} {
		req := withExtra("display=spice")
		req.Name = name
		req.NetworksJson = ""
		if _, err := client.Create(t.Context(), req); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := screensOf(nas, "web_1"), screensOf(nas, "web_2"); a[0]["password"] == b[0]["password"] {
		t.Errorf("both have the password %v", a[0]["password"])
	}
}

// Reconfigure adds a screen, changes it and removes it. A change keeps the password.
func TestScreensChange(t *testing.T) {
	t.Parallel()
	for _, release := range allReleases {
		client, nas, _, id := onNAS(t, release)
		change := func(give ...string) {
			t.Helper()
			if err := reconfigureExtra(t, client, id, give...); err != nil {
				t.Fatalf("%s: %q: %v", release, give, err)
			}
		}
		change("display=spice")
		first := screensOf(nas, "web_1")
		change("display=spice", "display_resolution=1920x1080", "display_bind=0.0.0.0")
		second := screensOf(nas, "web_1")
		if len(second) != 1 || second[0]["resolution"] != "1920x1080" || second[0]["bind"] != "0.0.0.0" || second[0]["password"] != first[0]["password"] {
			t.Errorf("%s: from %v to %v", release, first, second)
		}
		change() // A class without a screen keeps it.
		if got := screensOf(nas, "web_1"); !reflect.DeepEqual(got, second) {
			t.Errorf("%s: from %v to %v", release, second, got)
		}
		change("display=none")
		if got := screensOf(nas, "web_1"); len(got) != 0 {
			t.Errorf("%s: left %v", release, got)
		}
	}
}

// An impossible setting of a screen is refused by its key, and so is VNC on a release without it.
func TestScreensAreRefusedByKey(t *testing.T) {
	t.Parallel()
	const p = "class_json.ExtraConfig.truenas.io/"
	for _, tt := range []struct {
		release string
		give    []string
		want    string
	}{
		{"25.04.2", []string{"display=vnc", "display_bind=0.0.0.0"}, p + `display: "vnc" needs TrueNAS 25.10 or later; the NAS has 25.04.2`},
		{"25.10", []string{"display=vnc"}, p + "display_bind: must be given for vnc"},
		{"25.10", []string{"display=spice", "display_bind=192.0.2.99"}, p + `display_bind: "192.0.2.99"; the NAS offers `},
		{"25.10", []string{"display=spice", "display_bind=nas"}, p + "display_bind: "},
		{"25.10", []string{"display=rdp"}, p + "display: "},
		{"25.10", []string{"display_resolution=640x480"}, p + "display: must be given with"},
		{"25.10", []string{"display=spice", "display_resolution=1x1"}, p + "display_resolution: "},
	} {
		client, nas, _, id := onNAS(t, tt.release)
		before := nas.State()
		refusedWith(t, reconfigureExtra(t, client, id, tt.give...), "InvalidArgument", tt.want)
		req := withExtra(tt.give...)
		req.Name = "web-2"
		_, err := client.Create(t.Context(), req)
		refusedWith(t, err, "InvalidArgument", tt.want)
		if after := nas.State(); !reflect.DeepEqual(before, after) {
			t.Errorf("%q: refused, and the NAS was changed:\n%s", tt.give, changes(t, before, after))
		}
	}
}

// A VNC screen that listens only on the NAS itself has no URL for others.
func TestConsoleOfALoopbackScreen(t *testing.T) {
	t.Parallel()
	api, nas := truenastest.New(t, func(c *sim.Config) { c.Release = "25.10" })
	client, _ := serve(t, api)
	addImage(t, nas)
	resp, err := client.Create(t.Context(), withExtra("display=vnc", "display_bind=127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	if about := described(t, client, resp.GetId()); about.GetConsoleUrl() != "" || !strings.Contains(about.GetProviderRawJson(), `"serial_console":"1_web_1"`) || !strings.Contains(about.GetProviderRawJson(), `"disk_serials":"root=`) {
		t.Errorf("console %q, %s", about.GetConsoleUrl(), about.GetProviderRawJson())
	}
}
