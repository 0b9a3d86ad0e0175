package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// stage is the environment of one scenario: a Kubernetes namespace, with its NASes and providers.
type stage struct {
	w         *world
	name, ns  string
	nas       []*nas
	authority *authority // signs the certificates of its providers
}

// kinds lists the kinds that a stage deletes at its end, in this order.
var kinds = []string{"VMMigration", "VMClone", "VMSnapshot", "VirtualMachine", "VMImage", "VMClass", "VMNetworkAttachment", "Provider"}

func (s *stage) note(format string, args ...any) { s.w.timeline.note(s.name, format, args...) }

func (s *stage) begin(ctx context.Context) (err error) {
	s.note("begins")
	if s.authority, err = newAuthority(); err != nil {
		return err
	}
	return s.w.api.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.ns}})
}

// end removes the providers and stops the NASes. Other objects remain, because the namespace is not used again.
func (s *stage) end(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, kind := range kinds {
		all, err := list(ctx, s.w.api, s.ns, kind)
		if err != nil {
			s.note("clearing away: %v", err)
		}
		for i := range all {
			all[i].SetFinalizers(nil)
			_ = s.w.api.Update(ctx, &all[i]) // may be gone
			_ = s.w.api.Delete(ctx, &all[i]) // may be gone
		}
	}
	for _, n := range s.nas {
		n.close()
	}
}

// newNAS starts a NAS for this stage.
func (s *stage) newNAS(ctx context.Context, release string) (*nas, error) {
	name := fmt.Sprintf("nas-%s-%d", s.name, len(s.nas)+1)
	n, err := startNAS(ctx, s.w, name, release, s.w.address())
	if err != nil {
		return nil, err
	}
	s.nas = append(s.nas, n)
	s.note("a NAS of release %s runs", release)
	return n, nil
}

// provider applies deploy/provider.yaml, filled in for a NAS, and waits until the provider runs. A change may change it.
func (s *stage) provider(ctx context.Context, name string, n *nas, changes ...func(*unstructured.Unstructured)) error {
	b, err := os.ReadFile(filepath.Join(s.w.s.deploy, "provider.yaml"))
	if err != nil {
		return err
	}
	objects, err := documents(string(b))
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := s.fill(o, name, n); err != nil {
			return err
		}
		for _, change := range changes {
			change(o)
		}
		if err := applyObject(ctx, s.w.api, s.ns, o); err != nil {
			return err
		}
	}
	if err := s.wait(ctx, time.Minute, "Provider", name, "available", func(o *unstructured.Unstructured) bool {
		healthy := text(o, "status", "healthy")
		reported, _ := condition(o, "CapabilitiesReported")
		return healthy == "true" && reported == "True"
	}); err != nil {
		return err
	}
	s.note("Provider %s is available", name)
	return nil
}

// fill replaces the values that the manifest marks with an arrow, and renames the objects.
func (s *stage) fill(o *unstructured.Unstructured, name string, n *nas) error {
	set := func(value any, path ...string) error { return unstructured.SetNestedField(o.Object, value, path...) }
	switch {
	case o.GetKind() == "Provider":
		o.SetName(name)
		return errors.Join(set("https://"+n.address, "spec", "endpoint"), set(name+"-credentials", "spec", "credentialSecretRef", "name"),
			set(name+"-tls", "spec", "runtime", "service", "tls", "secretRef", "name"))
	case o.GetKind() == "Secret" && strings.Contains(o.GetName(), "tls"):
		o.SetName(name + "-tls")
		data, err := s.issue(name)
		return errors.Join(err, set(data, "stringData"))
	case o.GetKind() == "Secret":
		o.SetName(name + "-credentials")
		return errors.Join(set(n.username, "stringData", "username"), set(n.key, "stringData", "api_key"), set(n.fingerprint, "stringData", "fingerprint"))
	}
	return fmt.Errorf("deploy/provider.yaml has a %s", o.GetKind())
}

// issue makes the certificate of a provider.
func (s *stage) issue(name string) (map[string]any, error) {
	return s.authority.issue("virtrigaud-provider-" + s.ns + "-" + name + "." + s.ns + ".svc.cluster.local")
}

// plaintext disables TLS between manager and provider.
func plaintext(o *unstructured.Unstructured) {
	if o.GetKind() == "Provider" {
		_ = unstructured.SetNestedMap(o.Object, map[string]any{"enabled": false}, "spec", "runtime", "service", "tls") // the field exists
	}
}

func (s *stage) apply(ctx context.Context, manifest string) error {
	return apply(ctx, s.w.api, s.ns, manifest)
}

func (s *stage) get(ctx context.Context, kind, name string) (*unstructured.Unstructured, error) {
	return object(ctx, s.w.api, s.ns, kind, name)
}

// wait waits until an object has the expected state; the error shows its last state.
func (s *stage) wait(ctx context.Context, limit time.Duration, kind, name, what string, good func(*unstructured.Unstructured) bool) error {
	return poll(ctx, limit, fmt.Sprintf("%s %s is %s", kind, name, what), func() (bool, string) {
		o, err := s.get(ctx, kind, name)
		if err != nil {
			return false, err.Error()
		}
		return good(o), state(o)
	})
}

// patch works like kubectl patch --type merge.
func (s *stage) patch(ctx context.Context, kind, name, change string) error {
	o, b, err := s.change(ctx, kind, name, change)
	if err != nil {
		return err
	}
	return s.w.api.Patch(ctx, o, b)
}

// patchStatus works like kubectl patch --subresource=status --type=merge.
func (s *stage) patchStatus(ctx context.Context, kind, name, change string) error {
	o, b, err := s.change(ctx, kind, name, change)
	if err != nil {
		return err
	}
	return s.w.api.Status().Patch(ctx, o, b)
}

func (s *stage) change(ctx context.Context, kind, name, change string) (*unstructured.Unstructured, client.Patch, error) {
	o, err := s.get(ctx, kind, name)
	if err != nil {
		return nil, nil, err
	}
	b, err := yaml.YAMLToJSON([]byte(change))
	return o, mergePatch(b), err
}

// delete works like kubectl delete --wait=false.
func (s *stage) delete(ctx context.Context, kind, name string) error {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(group)
	o.SetKind(kind)
	o.SetNamespace(s.ns)
	o.SetName(name)
	return s.w.api.Delete(ctx, o)
}

// gone waits until an object is deleted.
func (s *stage) gone(ctx context.Context, limit time.Duration, kind, name string) error {
	return poll(ctx, limit, fmt.Sprintf("%s %s is gone", kind, name), func() (bool, string) {
		o, err := s.get(ctx, kind, name)
		if err != nil {
			return apierrors.IsNotFound(err), err.Error()
		}
		return false, state(o)
	})
}

// empty waits until a NAS has no objects of VMs.
func (s *stage) empty(ctx context.Context, n *nas) error {
	if err := poll(ctx, 30*time.Second, n.name+" is empty", func() (bool, string) {
		left, err := n.leftovers(ctx)
		return err == nil && len(left) == 0, fmt.Sprint(left, err)
	}); err != nil {
		return err
	}
	s.note("nothing of a VM is left on the NAS")
	return nil
}

// dump writes the state of the stage to a file beside the logs.
func (s *stage) dump(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var b strings.Builder
	for _, kind := range kinds {
		all, err := list(ctx, s.w.api, s.ns, kind)
		if err != nil {
			fmt.Fprintf(&b, "# %s: %v\n", kind, err)
		}
		for _, o := range all {
			o.SetManagedFields(nil)
			y, _ := yaml.Marshal(o.Object) // parsed from JSON
			fmt.Fprintf(&b, "---\n%s", y)
		}
	}
	for _, n := range s.nas {
		left, err := n.leftovers(ctx)
		fmt.Fprintf(&b, "# on %s: %v %v\n", n.name, left, err)
	}
	_ = os.WriteFile(filepath.Join(s.w.s.logs, s.name+".objects.yaml"), []byte(b.String()), 0o644) // the failure itself is reported
}
