package main

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// TestDeployment decodes the manifest as Kubernetes does, and the arguments as the program does.
func TestDeployment(t *testing.T) {
	content, err := os.ReadFile("../../deploy/omni.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var deployment apps.Deployment
	var role rbac.Role
	kinds := map[string]any{
		"Namespace": &core.Namespace{}, "Secret": &core.Secret{}, "ServiceAccount": &core.ServiceAccount{},
		"Role": &role, "RoleBinding": &rbac.RoleBinding{}, "Deployment": &deployment,
	}
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		var kind meta.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			t.Fatal(err)
		}
		if kinds[kind.Kind] == nil {
			t.Fatalf("unexpected kind %q", kind.Kind)
		}
		if err := yaml.UnmarshalStrict(document, kinds[kind.Kind]); err != nil {
			t.Errorf("%s: %v", kind.Kind, err)
		}
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	flags := pflag.NewFlagSet(name, pflag.ContinueOnError)
	o := addFlags(flags)
	if err := flags.Parse(container.Args); err != nil {
		t.Error(err)
	}
	o.endpoint, o.key = "https://omni.example", "key"
	if err := o.check(); err != nil {
		t.Error(err)
	}
	if *deployment.Spec.Replicas != 2 || role.Rules[0].Resources[0] != "leases" || strings.Join(role.Rules[0].Verbs, " ") != "get create update" {
		t.Errorf("%d replicas, allowed %v", *deployment.Spec.Replicas, role.Rules)
	}
}
