package main

import (
	"context"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

const group = "infra.virtrigaud.io/v1beta1"

// documents parses the objects of a manifest.
func documents(manifest string) ([]*unstructured.Unstructured, error) {
	var all []*unstructured.Unstructured
	for doc := range strings.SplitSeq(manifest, "\n---") {
		o := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(doc), &o.Object); err != nil {
			return nil, err
		}
		if len(o.Object) > 0 {
			all = append(all, o)
		}
	}
	return all, nil
}

// apply works like kubectl apply --server-side.
func apply(ctx context.Context, api client.Client, ns, manifest string) error {
	objects, err := documents(manifest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if err := applyObject(ctx, api, ns, o); err != nil {
			return err
		}
	}
	return nil
}

func applyObject(ctx context.Context, api client.Client, ns string, o *unstructured.Unstructured) error {
	if ns != "" {
		o.SetNamespace(ns)
	}
	err := api.Apply(ctx, client.ApplyConfigurationFromUnstructured(o), client.FieldOwner("e2e"), client.ForceOwnership)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", o.GetKind(), o.GetName(), err)
	}
	return nil
}

// object works like kubectl get.
func object(ctx context.Context, api client.Client, ns, kind, name string) (*unstructured.Unstructured, error) {
	o := &unstructured.Unstructured{}
	o.SetAPIVersion(group)
	o.SetKind(kind)
	return o, api.Get(ctx, client.ObjectKey{Namespace: ns, Name: name}, o)
}

func list(ctx context.Context, api client.Client, ns, kind string) ([]unstructured.Unstructured, error) {
	l := &unstructured.UnstructuredList{}
	l.SetAPIVersion(group)
	l.SetKind(kind + "List")
	err := api.List(ctx, l, client.InNamespace(ns))
	return l.Items, err
}

// text returns a field of an object as text, or "".
func text(o *unstructured.Unstructured, path ...string) string {
	v, ok, err := unstructured.NestedFieldNoCopy(o.Object, path...)
	if !ok || err != nil {
		return ""
	}
	return fmt.Sprint(v)
}

// condition returns status and message of a condition.
func condition(o *unstructured.Unstructured, kind string) (status, message string) {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // missing conditions are an empty list
	for _, c := range all {
		m, ok := c.(map[string]any)
		if ok && m["type"] == kind {
			return fmt.Sprint(m["status"]), fmt.Sprint(m["message"])
		}
	}
	return "", ""
}

// state summarizes an object in a line, for messages.
func state(o *unstructured.Unstructured) string {
	var b strings.Builder
	for _, field := range []string{"id", "powerState", "phase", "lastTaskRef", "message"} {
		if v := text(o, "status", field); v != "" {
			fmt.Fprintf(&b, "%s=%s ", field, v)
		}
	}
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions") // missing conditions are an empty list
	for _, c := range all {
		if m, ok := c.(map[string]any); ok {
			fmt.Fprintf(&b, "%v=%v(%v) ", m["type"], m["status"], m["message"])
		}
	}
	return strings.TrimSpace(b.String())
}

// mergePatch wraps a JSON merge patch.
func mergePatch(change []byte) client.Patch { return client.RawPatch(types.MergePatchType, change) }
