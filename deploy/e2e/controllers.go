package main

import (
	"context"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// bind reports a claim as bound, and removes the finalizers of deleted claims, because no other controller does.
func (n *node) bind(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	switch {
	case claim.DeletionTimestamp != nil && len(claim.Finalizers) > 0:
		claim.Finalizers = nil
		return client.IgnoreNotFound(n.w.api.Update(ctx, claim))
	case claim.DeletionTimestamp != nil || claim.Status.Phase == corev1.ClaimBound:
		return nil
	}
	claim.Status.Phase = corev1.ClaimBound
	claim.Status.Capacity = claim.Spec.Resources.Requests
	return ignoreConflict(n.w.api.Status().Update(ctx, claim))
}

// orphaned deletes a Deployment whose owner is gone, like the garbage collector.
func (n *node) orphaned(ctx context.Context, d *appsv1.Deployment) (bool, error) {
	for _, owner := range d.OwnerReferences {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion(owner.APIVersion)
		o.SetKind(owner.Kind)
		err := n.w.api.Get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: owner.Name}, o)
		if apierrors.IsNotFound(err) {
			return true, client.IgnoreNotFound(n.w.api.Delete(ctx, d))
		}
		if err != nil {
			return false, err
		}
	}
	return false, nil
}

// show maintains the Pod object of the process: the manager looks for one that is ready and mounts a claim.
func (n *node) show(ctx context.Context, d *appsv1.Deployment, p *pod, ready bool) error {
	name := d.Name + "-" + p.made[:10]
	if p.shown != "" && p.shown != name {
		old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: p.shown}}
		if err := client.IgnoreNotFound(n.w.api.Delete(ctx, old, client.GracePeriodSeconds(0))); err != nil {
			return err
		}
	}
	if p.shown != name {
		made := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: d.Namespace, Name: name, Labels: d.Spec.Template.Labels}, Spec: *d.Spec.Template.Spec.DeepCopy()}
		made.Spec.NodeName = "e2e"
		if err := n.w.api.Create(ctx, made); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		p.shown, p.shownReady = name, false
	}
	if p.shownReady == ready {
		return nil
	}
	var shown corev1.Pod
	if err := n.w.api.Get(ctx, types.NamespacedName{Namespace: d.Namespace, Name: name}, &shown); err != nil {
		return err
	}
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	shown.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: p.address, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: status}}}
	p.shownReady = ready
	return ignoreConflict(n.w.api.Status().Update(ctx, &shown))
}
