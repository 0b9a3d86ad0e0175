package check

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
)

// shipped returns the manifests that users apply unchanged.
func shipped(t *testing.T) map[string][]object {
	t.Helper()
	files, err := filepath.Glob("../*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	examples, err := filepath.Glob("../examples/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	later, err := filepath.Glob("../examples/later/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	manifests := map[string][]object{}
	for _, file := range slices.Concat(files, examples, later) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		manifests[file] = decode(t, file, content)
	}
	return manifests
}

func TestManifests(t *testing.T) {
	manifests := shipped(t)
	for _, file := range []string{"../provider.yaml", "../omni.yaml", "../rbac.yaml", "../networkpolicy.yaml", "../examples/virtualmachine.yaml", "../examples/later/vmclone.yaml"} {
		if len(manifests[file]) == 0 {
			t.Errorf("%s holds nothing", file)
		}
	}
	for file, objects := range manifests {
		t.Run(filepath.Base(file), func(t *testing.T) {
			fit(t, file, objects)
			checkPrograms(t, file, objects)
		})
	}
}

// TestExamplesFitTogether checks that the references of the VM lead to other examples, and that its provider is the shipped one.
func TestExamplesFitTogether(t *testing.T) {
	names := map[string]bool{}
	var objects []object
	for _, part := range shipped(t) {
		objects = append(objects, part...)
	}
	for _, o := range objects {
		names[o.Kind+" "+o.plain["metadata"].(map[string]any)["name"].(string)] = true
	}
	for _, vm := range all[virtrigaud.VirtualMachine](objects) {
		wanted := []string{"Provider " + vm.Spec.ProviderRef.Name, "VMClass " + vm.Spec.ClassRef.Name, "VMImage " + vm.Spec.ImageRef.Name}
		for _, network := range vm.Spec.Networks {
			wanted = append(wanted, "VMNetworkAttachment "+network.NetworkRef.Name)
		}
		for _, name := range wanted {
			if !names[name] {
				t.Errorf("%s refers to %s, which is not among the examples", vm.Name, name)
			}
		}
		if !strings.HasPrefix(vm.Spec.UserData.CloudInit.Inline, "#cloud-config\n") {
			t.Errorf("%s: the guest would not accept its data as a configuration", vm.Name)
		}
	}
	for _, snapshot := range all[virtrigaud.VMSnapshot](objects) {
		if !names["VirtualMachine "+snapshot.Spec.VMRef.Name] {
			t.Errorf("%s refers to a VM that is not among the examples", snapshot.Name)
		}
	}
}
