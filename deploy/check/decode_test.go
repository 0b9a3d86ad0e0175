package check

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	virtrigaud "github.com/projectbeskar/virtrigaud/api/infra.virtrigaud.io/v1beta1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	rbac "k8s.io/api/rbac/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// kinds lists the allowed kinds of shipped objects. All others are refused.
func kinds() map[meta.TypeMeta]any {
	const own = "infra.virtrigaud.io/v1beta1"
	return map[meta.TypeMeta]any{
		{APIVersion: own, Kind: "Provider"}:                               &virtrigaud.Provider{},
		{APIVersion: own, Kind: "VirtualMachine"}:                         &virtrigaud.VirtualMachine{},
		{APIVersion: own, Kind: "VMClass"}:                                &virtrigaud.VMClass{},
		{APIVersion: own, Kind: "VMClone"}:                                &virtrigaud.VMClone{},
		{APIVersion: own, Kind: "VMImage"}:                                &virtrigaud.VMImage{},
		{APIVersion: own, Kind: "VMNetworkAttachment"}:                    &virtrigaud.VMNetworkAttachment{},
		{APIVersion: own, Kind: "VMSnapshot"}:                             &virtrigaud.VMSnapshot{},
		{APIVersion: "apps/v1", Kind: "Deployment"}:                       &apps.Deployment{},
		{APIVersion: "cert-manager.io/v1", Kind: "Certificate"}:           &certmanager.Certificate{},
		{APIVersion: "monitoring.coreos.com/v1", Kind: "PodMonitor"}:      &monitoring.PodMonitor{},
		{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}:       &networking.NetworkPolicy{},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "Role"}:        &rbac.Role{},
		{APIVersion: "rbac.authorization.k8s.io/v1", Kind: "RoleBinding"}: &rbac.RoleBinding{},
		{APIVersion: "v1", Kind: "Namespace"}:                             &core.Namespace{},
		{APIVersion: "v1", Kind: "Secret"}:                                &core.Secret{},
		{APIVersion: "v1", Kind: "Service"}:                               &core.Service{},
		{APIVersion: "v1", Kind: "ServiceAccount"}:                        &core.ServiceAccount{},
	}
}

// An object is one document of a manifest.
type object struct {
	meta.TypeMeta
	typed any            // a pointer to the type of its kind
	plain map[string]any // the same, undecoded
}

// decode decodes all documents of a manifest. Unknown and duplicate fields are errors.
func decode(t *testing.T, where string, content []byte) []object {
	t.Helper()
	var objects []object
	for reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content))); ; {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		var o object
		if err := yaml.Unmarshal(document, &o.plain); err != nil {
			t.Fatalf("%s: %v\n%s", where, err, document)
		}
		if len(o.plain) == 0 {
			continue
		}
		if err := yaml.Unmarshal(document, &o.TypeMeta); err != nil {
			t.Fatalf("%s: %v", where, err)
		}
		o.typed = kinds()[o.TypeMeta]
		if o.typed == nil {
			t.Errorf("%s: unexpected %s %s", where, o.APIVersion, o.Kind)
			continue
		}
		if err := yaml.UnmarshalStrict(document, o.typed); err != nil {
			t.Errorf("%s: %s: %v", where, o.Kind, err)
		}
		objects = append(objects, o)
	}
}

// all returns the objects of one type.
func all[T any](objects []object) []*T {
	var found []*T
	for _, o := range objects {
		if typed, ok := o.typed.(*T); ok {
			found = append(found, typed)
		}
	}
	return found
}
