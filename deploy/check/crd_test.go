package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"sigs.k8s.io/yaml"
)

// schemas are the schemas of VirtRigaud's CRDs by kind. Unlike the Go types, they have enumerations, patterns and limits.
var schemas = sync.OnceValues(func() (map[string]validation.SchemaValidator, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "github.com/projectbeskar/virtrigaud").Output()
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "config/crd/bases/*.yaml"))
	if err != nil {
		return nil, err
	}
	byKind := map[string]validation.SchemaValidator{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		var crd apiextensionsv1.CustomResourceDefinition
		if err := yaml.Unmarshal(content, &crd); err != nil {
			return nil, err
		}
		var schema apiextensions.JSONSchemaProps
		if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[0].Schema.OpenAPIV3Schema, &schema, nil); err != nil {
			return nil, err
		}
		if byKind[crd.Spec.Names.Kind], _, err = validation.NewSchemaValidator(&schema); err != nil {
			return nil, err
		}
	}
	return byKind, nil
})

// fit validates VirtRigaud's resources with their schemas.
func fit(t *testing.T, where string, objects []object) {
	t.Helper()
	byKind, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		if !strings.HasPrefix(o.APIVersion, "infra.virtrigaud.io/") {
			continue
		}
		schema, ok := byKind[o.Kind]
		if !ok {
			t.Errorf("%s: VirtRigaud has no schema for a %s", where, o.Kind)
			continue
		}
		for _, mistake := range validation.ValidateCustomResource(nil, o.plain, schema) {
			t.Errorf("%s: %s: %v", where, o.Kind, mistake)
		}
	}
}

// TestSchemasRefuse checks that the schemas are stricter than the types.
func TestSchemasRefuse(t *testing.T) {
	byKind, err := schemas()
	if err != nil {
		t.Fatal(err)
	}
	provider := func(kind, image string) map[string]any {
		return map[string]any{"spec": map[string]any{
			"type": kind, "endpoint": "https://nas.example", "credentialSecretRef": map[string]any{"name": "x"}, "runtime": map[string]any{"image": image},
		}}
	}
	for _, tt := range []struct {
		name     string
		provider map[string]any
		fits     bool
	}{
		{"a provider", provider("qemu", "registry.example/provider:1"), true},
		{"a type that there is not", provider("truenas", "registry.example/provider:1"), false},
		{"a registry with a port", provider("qemu", "registry.example:5000/provider:1"), false},
	} {
		if mistakes := validation.ValidateCustomResource(nil, tt.provider, byKind["Provider"]); (len(mistakes) == 0) != tt.fits {
			t.Errorf("%s: %v", tt.name, mistakes)
		}
	}
}
