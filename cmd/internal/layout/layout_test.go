package layout

import (
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const (
	root       = "../../.."
	module     = "virtrigaud-provider-truenas/"
	providerv1 = "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
	sdk        = "github.com/projectbeskar/virtrigaud/sdk/..."
	grpc       = "google.golang.org/grpc/..."
	kubernetes = "k8s.io/..."
	omniSDK    = "github.com/siderolabs/..."
)

// rule lists the imports that a package may have from this project, and the imports from other modules that it must not have. A
// name that ends in /... includes all packages below it. Tests may import more; tests of packages marked strict only packages for
// tests.
type rule struct {
	name   string
	may    []string
	never  []string
	strict bool
	tests  []string
}

// onSimulator is what tests of packages that call the NAS may import.
var onSimulator = []string{module + "truenas/sim", module + "truenas/truenastest"}

// The first matching rule applies. A package without a rule fails the test: decide where it belongs.
var rules = []rule{
	{name: "cmd/...", may: []string{module + "...", providerv1, sdk}},
	{name: "config", never: []string{grpc, kubernetes}, strict: true, tests: []string{module + "config/reference"}},
	{name: "config/reference", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/disk", never: []string{grpc, kubernetes}, strict: true, tests: []string{module + "server/disk/disktest"}},
	{name: "server/bootorder", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/media", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/servertest", may: []string{providerv1, module + "server"}, never: []string{kubernetes}},
	{name: "server/redfish", may: []string{providerv1}, never: []string{kubernetes}},
	{name: "server/disk/disktest", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/conformance/manager04", may: []string{providerv1}, never: []string{kubernetes}},
	{name: "server/conformance", may: []string{providerv1, module + "server/conformance/manager04"}, never: []string{kubernetes}},
	// Packages that only read requests, refuse them or serve connections do not depend on the NAS.
	{name: "server/refusal", may: []string{sdk}, never: []string{kubernetes}, strict: true},
	{name: "server/listen", may: []string{providerv1}, never: []string{kubernetes}, strict: true},
	{name: "server/settings", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/placement", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/inventory", may: []string{module + "truenas"}, never: []string{grpc, kubernetes}},
	// Packages that only read records or remove objects need neither handlers nor packages that create objects.
	{name: "server/vmrecord", may: []string{module + "truenas", module + "server/spec"}, never: []string{grpc, kubernetes}, strict: true},
	{name: "server/destroy", may: []string{module + "truenas", module + "server/refusal", module + "server/spec"}, never: []string{grpc, kubernetes}, strict: true, tests: onSimulator},
	{name: "server/ownership", may: []string{module + "truenas", module + "server/inventory", module + "server/refusal", module + "server/spec", module + "server/vmrecord"}, never: []string{grpc, kubernetes}, strict: true, tests: onSimulator},
	{name: "server/lease", may: []string{module + "truenas", module + "server/destroy", module + "server/ownership", module + "server/refusal", module + "server/spec"}, never: []string{grpc, kubernetes}, strict: true, tests: onSimulator},
	{name: "server/background", never: []string{grpc, kubernetes}, strict: true},
	{name: "server/landing", may: []string{
		module + "truenas",
		module + "server/background",
		module + "server/destroy",
		module + "server/disk",
		module + "server/lease",
		module + "server/ownership",
		module + "server/refusal",
		module + "server/spec",
		module + "server/vmrecord",
	}, never: []string{kubernetes}, strict: true},
	{name: "server/diskio", may: []string{
		providerv1, sdk,
		module + "truenas",
		module + "server/destroy",
		module + "server/disk",
		module + "server/landing",
		module + "server/lease",
		module + "server/ownership",
		module + "server/refusal",
		module + "server/spec",
		module + "server/vmrecord",
	}, never: []string{kubernetes}, strict: true},
	{name: "server/doctor", may: []string{
		module + "truenas",
		module + "server/destroy",
		module + "server/diskio",
		module + "server/landing",
		module + "server/lease",
		module + "server/ownership",
		module + "server/refusal",
		module + "server/spec",
		module + "server/vmrecord",
	}, never: []string{grpc, kubernetes}, strict: true},
	{name: "server/hardware", may: []string{module + "truenas", module + "server/refusal", module + "server/settings", module + "server/spec", module + "server/vmrecord"}, never: []string{kubernetes}, strict: true},
	{name: "server/seed", may: []string{module + "server/spec", module + "server/refusal"}, never: []string{grpc, kubernetes}, strict: true},
	{name: "server/spec", may: []string{providerv1, module + "server/disk", module + "server/refusal", module + "server/settings"}, never: []string{kubernetes}, strict: true},
	{name: "server", may: []string{
		providerv1, sdk, module + "truenas", module + "server/disk",
		module + "server/background",
		module + "server/bootorder",
		module + "server/destroy",
		module + "server/diskio",
		module + "server/doctor",
		module + "server/hardware",
		module + "server/inventory",
		module + "server/landing",
		module + "server/lease",
		module + "server/listen",
		module + "server/media",
		module + "server/ownership",
		module + "server/placement",
		module + "server/refusal",
		module + "server/seed",
		module + "server/settings",
		module + "server/spec",
		module + "server/vmrecord",
	}, never: []string{kubernetes}},
	// The simulator has its own copy of the NAS's names, and so do its tests and the packages that run its VMs. Otherwise a
	// misspelt key would cancel out.
	{name: "truenas/sim/qemu", may: []string{module + "truenas/sim"}, never: []string{grpc, kubernetes}, strict: true},
	{name: "truenas/sim", never: []string{grpc, kubernetes}, strict: true, tests: []string{module + "server/disk/disktest", module + "truenas/truenastest/intime"}},
	{name: "truenas/truenastest/intime", never: []string{grpc, kubernetes}, strict: true},
	{name: "truenas/truenastest/sampling", never: []string{grpc, kubernetes}, strict: true},
	{name: "truenas/truenastest/marked", never: []string{grpc, kubernetes}, strict: true},
	{name: "truenas/truenastest", may: []string{module + "truenas", module + "truenas/sim"}, never: []string{grpc, kubernetes}},
	{name: "truenas", never: []string{grpc, kubernetes}},
	{name: "omni/machine", never: []string{kubernetes}},
	{name: "omni/bootasset", never: []string{kubernetes}, strict: true},
	{name: "omni/standin", never: []string{kubernetes}},
	{name: "omni/talosconfig", never: []string{grpc, kubernetes}, strict: true},
	{name: "omni", may: []string{providerv1, module + "omni/machine", module + "omni/talosconfig", module + "server/settings"}, never: []string{kubernetes}},
}

// listed is an entry of the output of go list.
type listed struct {
	ImportPath, Doc, Name                             string
	GoFiles, Imports, TestImports, XTestImports, Deps []string
}

func list(t *testing.T, args ...string) []listed {
	t.Helper()
	watchSources(t)
	cmd := exec.Command("go", append([]string{"list", "-json=ImportPath,Doc,Name,GoFiles,Imports,TestImports,XTestImports,Deps"}, args...)...)
	cmd.Dir = root
	out, err := cmd.Output()
	if err != nil {
		var failed *exec.ExitError
		if errors.As(err, &failed) {
			t.Fatalf("go list: %v\n%s", err, failed.Stderr)
		}
		t.Fatal(err)
	}
	var packages []listed
	for decoder := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p listed
		err := decoder.Decode(&p)
		if errors.Is(err, io.EOF) {
			return packages
		}
		if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// watchSources opens every file of the project. The go command reads the files in a process of its own, so go test does not
// register them as inputs and would reuse an outdated result from its cache.
func watchSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(_ string, entry fs.DirEntry, err error) error {
		if entry != nil && entry.IsDir() && (entry.Name() == ".git" || entry.Name() == "bin") {
			return filepath.SkipDir
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func fits(pattern, path string) bool {
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return pattern == path
}

func TestImports(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		i := slices.IndexFunc(rules, func(r rule) bool { return fits(r.name, name) })
		if i < 0 {
			t.Errorf("%s: there is no rule for the imports of this package", name)
			continue
		}
		for _, path := range p.Imports {
			if !rules[i].allows(path) {
				t.Errorf("%s must not import %s", name, path)
			}
		}
		for _, path := range slices.Concat(p.TestImports, p.XTestImports) {
			if rules[i].strict && path != p.ImportPath && !slices.Contains(rules[i].tests, path) && !rules[i].allows(path) {
				t.Errorf("tests of %s must not import %s", name, path)
			}
		}
	}
}

func (r rule) allows(path string) bool {
	fitsPath := func(pattern string) bool { return fits(pattern, path) }
	ours := strings.HasPrefix(path, module) || path == providerv1 || fits(sdk, path)
	return !slices.ContainsFunc(r.never, fitsPath) && (!ours || slices.ContainsFunc(r.may, fitsPath))
}

// TestRulesNamePackages finds rules for packages that were moved or removed.
func TestRulesNamePackages(t *testing.T) {
	packages := list(t, "./...")
	used := make([]bool, len(rules))
	for _, p := range packages {
		name := strings.TrimPrefix(p.ImportPath, module)
		if i := slices.IndexFunc(rules, func(r rule) bool { return fits(r.name, name) }); i >= 0 {
			used[i] = true
		}
	}
	for i, r := range rules {
		if !used[i] {
			t.Errorf("the rule for %s is the first match for no package", r.name)
		}
		for _, pattern := range slices.Concat(r.may, r.tests) {
			if strings.HasPrefix(pattern, module) && !slices.ContainsFunc(packages, func(p listed) bool { return fits(pattern, p.ImportPath) }) {
				t.Errorf("the rule for %s names %s, which does not exist", r.name, pattern)
			}
		}
	}
	for name := range largePackages {
		if !slices.ContainsFunc(packages, func(p listed) bool { return p.ImportPath == module+name }) {
			t.Errorf("the limit for %s names a package that does not exist", name)
		}
	}
}

func TestRulesRefuse(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		want     bool
	}{
		{"server", module + "truenas", true},
		{"server", module + "truenas/sim", false},
		{"server", module + "config", false},
		{"server/refusal", module + "truenas", false},
		{"server/listen", module + "truenas", false},
		{"server/spec", module + "truenas", false},
		{"server/seed", module + "truenas", false},
		{"server/disk", module + "truenas", false},
		{"server/vmrecord", module + "server/destroy", false},
		{"server/destroy", module + "server/lease", false},
		{"server/ownership", module + "server/lease", false},
		{"server/lease", module + "server/landing", false},
		{"server/landing", module + "server", false},
		{"server/landing", providerv1, false},
		{"server/diskio", providerv1, true},
		{"server/diskio", module + "server/doctor", false},
		{"server/doctor", providerv1, false},
		{"server/hardware", module + "server", false},
		{"server/disk", "google.golang.org/grpc/codes", false},
		{"server/redfish", providerv1, true},
		{"server/redfish", module + "server", false},
		{"server/redfish", module + "config", false},
		{"server/redfish", module + "truenas", false},
		{"server/redfish", "github.com/projectbeskar/virtrigaud/sdk/provider/errors", false},
		{"truenas", "google.golang.org/grpc", false},
		{"truenas", "github.com/gorilla/websocket", true},
		{"truenas/sim", module + "truenas", false},
		{"omni", providerv1, true},
		{"omni", module + "server", false},
		{"omni", module + "server/settings", true},
		{"omni", module + "truenas", false},
		{"omni/standin", module + "truenas/sim", false},
		{"config", module + "truenas", false},
		{"config", module + "config/reference", false}, // its tests may
		{"cmd/x", module + "server", true},
	} {
		i := slices.IndexFunc(rules, func(r rule) bool { return fits(r.name, tt.from) })
		if got := rules[i].allows(tt.to); got != tt.want {
			t.Errorf("%s importing %s: allowed is %v", tt.from, tt.to, got)
		}
	}
}

func TestPackageComments(t *testing.T) {
	for _, p := range list(t, "./...", sdk, providerv1) {
		begin := "Package " + p.Name + " "
		if p.Name == "main" {
			begin = "Command " + filepath.Base(p.ImportPath) + " "
		}
		if len(p.GoFiles) > 0 && !strings.HasPrefix(p.Doc, begin) {
			t.Errorf("%s: its comment does not begin with %q: %q", p.ImportPath, begin, p.Doc)
		}
	}
}

// maxFiles is the maximum number of files of a package without tests. A larger package hides its parts.
const maxFiles = 60

// largePackages are not split yet. Their limits may only fall.
var largePackages = map[string]int{"server/disk": 62, "truenas/sim": 97}

func TestPackageSizes(t *testing.T) {
	for _, p := range list(t, "./...") {
		name := strings.TrimPrefix(p.ImportPath, module)
		if most := max(maxFiles, largePackages[name]); len(p.GoFiles) > most {
			t.Errorf("%s has %d files; at most %d are allowed: split it", name, len(p.GoFiles), most)
		}
	}
}

const (
	provider = "./cmd/virtrigaud-provider-truenas"
	maxSize  = 40 << 20 // bytes, stripped
)

func TestUnwantedPackagesOfProvider(t *testing.T) {
	unwanted := []string{
		omniSDK, "github.com/cosi-project/...", "k8s.io/client-go/...", "k8s.io/api/...", "k8s.io/apimachinery/...",
		"sigs.k8s.io/controller-runtime/...", module + "omni/...", "testing", "go.uber.org/goleak", module + "server/conformance",
	}
	for _, path := range list(t, provider)[0].Deps {
		if slices.ContainsFunc(unwanted, func(pattern string) bool { return fits(pattern, path) }) {
			t.Errorf("%s is linked", path)
		}
	}
}

// maxPackages limits the packages of other modules that the provider links. A fresh machine compiles them before the first demo,
// and a reviewer has to trust them. Raise it only for a dependency that is worth both.
const maxPackages = 576

func TestNumberOfPackagesOfProvider(t *testing.T) {
	others := slices.DeleteFunc(list(t, provider)[0].Deps, func(path string) bool {
		return strings.HasPrefix(path, module) || path == providerv1 || fits(sdk, path)
	})
	if len(others) < 100 {
		t.Fatalf("go list reports %d packages; want those of the provider", len(others))
	}
	if len(others) > maxPackages {
		t.Errorf("the provider links %d packages of other modules; at most %d are allowed", len(others), maxPackages)
	}
	t.Logf("%d packages of other modules, %d allowed", len(others), maxPackages)
}

// TestTheProviderIsSmall links the packages that go test has compiled. The flags of a release, CGO_ENABLED=0 and -trimpath, would
// compile every package a second time, for a binary that is some hundred KB smaller.
func TestTheProviderIsSmall(t *testing.T) {
	binary := filepath.Join(t.TempDir(), "provider")
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags=-s -w", "-o", binary, provider)
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	info, err := os.Stat(binary)
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() >= maxSize {
		t.Errorf("the stripped binary has %d bytes; at most %d are allowed", info.Size(), maxSize)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
}
