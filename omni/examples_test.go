package omni

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cosi-project/runtime/pkg/resource/protobuf"
	"github.com/santhosh-tekuri/jsonschema/v6"
	omnires "github.com/siderolabs/omni/client/pkg/omni/resources/omni"
	"github.com/siderolabs/omni/client/pkg/template"
	"go.yaml.in/yaml/v4"
)

const examples = "../deploy/examples/omni"

// decoded reads a resource from a file as "omnictl apply" does.
func decoded[T any](t *testing.T, file string) T {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, file))
	if err != nil {
		t.Fatal(err)
	}
	var r protobuf.YAMLResource
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&r); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	found, ok := r.Resource().(T)
	if !ok {
		t.Fatalf("%s holds a %T", file, r.Resource())
	}
	return found
}

// provides checks the provider data of a machine request.
func provides(t *testing.T, file, providerData string) {
	t.Helper()
	if providerData == "" {
		t.Fatalf("%s has no provider data", file)
	}
	if _, err := parseClass(func(to any) error { return yaml.Unmarshal([]byte(providerData), to) }); err != nil {
		t.Errorf("%s: %v", file, err)
	}
	fitsSchema(t, file, providerData)
}

// fitsSchema validates provider data as Omni does when a machine class is applied.
func fitsSchema(t *testing.T, what, providerData string) {
	t.Helper()
	schema, err := jsonschema.UnmarshalJSON(strings.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("class.json", schema); err != nil {
		t.Fatal(err)
	}
	var data map[string]any
	if err := yaml.Unmarshal([]byte(providerData), &data); err != nil {
		t.Fatal(err)
	}
	if err := compiler.MustCompile("class.json").Validate(data); err != nil {
		t.Errorf("%s: %v", what, err)
	}
}

// Omni's own code reads the examples for omnictl, and this provider accepts them.
func TestExamplesOfOmni(t *testing.T) {
	class := decoded[*omnires.MachineClass](t, "machine-class.yaml")
	auto := class.TypedSpec().Value.GetAutoProvision()
	if auto.GetProviderId() != providerID {
		t.Errorf("the machine class names provider %q", auto.GetProviderId())
	}
	provides(t, "machine-class.yaml", auto.GetProviderData())

	storage := decoded[*omnires.MachineClass](t, "machine-class-storage.yaml").TypedSpec().Value.GetAutoProvision()
	if storage.GetProviderId() != providerID {
		t.Errorf("the machine class names provider %q", storage.GetProviderId())
	}
	provides(t, "machine-class-storage.yaml", storage.GetProviderData())

	set := decoded[*omnires.MachineRequestSet](t, "machine-request-set.yaml").TypedSpec().Value
	if set.GetProviderId() != providerID || set.GetMachineCount() == 0 || set.GetTalosVersion() == "" {
		t.Errorf("the machine request set is %v", set)
	}
	provides(t, "machine-request-set.yaml", set.GetProviderData())

	file, err := os.Open(filepath.Join(examples, "cluster.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	cluster, err := template.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := cluster.Validate(); err != nil {
		t.Error(err)
	}
	resources, err := cluster.Translate()
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, r := range resources {
		if s, ok := r.(*omnires.MachineSet); ok && s.TypedSpec().Value.GetMachineAllocation().GetName() == class.Metadata().ID() {
			named++
		}
	}
	if named != 2 {
		t.Errorf("%d machine sets of the cluster use class %q; want 2", named, class.Metadata().ID())
	}
}
