package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sort"
	"strings"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A pod is the process of a Deployment, started as a kubelet would: the program in its own read-only root, with the files of
// Secrets and the folders of claims at the paths of the Deployment, as the Deployment's user.
type pod struct {
	name    string // of the Deployment
	ns      string
	address string
	root    string // its root folder
	made    string // the pod template of the process
	process *process
	mounts  []string

	shown      string // name of its Pod object
	shownReady bool
}

// start runs the container. It keeps the ports of the Deployment, and changes the address in the manager's two flags to that of
// the pod.
func (p *pod) start(ctx context.Context, w *world, template corev1.PodTemplateSpec, made string) error {
	spec := template.Spec
	container := spec.Containers[0]
	if err := p.furnish(ctx, w, spec); err != nil {
		return err
	}
	args := make([]string, len(container.Args))
	for i, arg := range container.Args {
		arg = strings.Replace(arg, "--port=", "--listen="+p.address+":", 1)
		args[i] = strings.Replace(arg, "--health-port=", "--health-listen="+p.address+":", 1)
	}
	cmd := exec.Command("/provider", args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/"}
	for _, e := range container.Env {
		cmd.Env = append(cmd.Env, e.Name+"="+p.value(e, template.Labels))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: p.root}
	if user := container.SecurityContext.RunAsUser; user != nil && manyUsers() {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: uint32(*user), Gid: uint32(*user), NoSetGroups: true}
	}
	cmd.Path = "/provider"
	process, err := launch(p.name, w.s.logs, cmd)
	if err != nil {
		return err
	}
	p.process, p.made = process, made
	return nil
}

// value returns the value of a variable. It supports the parts of the downward API that the manager uses.
func (p *pod) value(e corev1.EnvVar, labels map[string]string) string {
	if e.ValueFrom == nil || e.ValueFrom.FieldRef == nil {
		return e.Value
	}
	path := e.ValueFrom.FieldRef.FieldPath
	if path == "metadata.namespace" {
		return p.ns
	}
	label := strings.TrimSuffix(strings.TrimPrefix(path, "metadata.labels['"), "']")
	return labels[label]
}

// furnish makes the root: the program, its mounts, and /tmp.
func (p *pod) furnish(ctx context.Context, w *world, spec corev1.PodSpec) error {
	if err := os.MkdirAll(p.root, 0o755); err != nil {
		return err
	}
	program := filepath.Join(p.root, "provider")
	if _, err := os.Stat(program); err != nil {
		if err := copyFile(program, w.s.provider); err != nil {
			return err
		}
	}
	if err := p.syncSecrets(ctx, w, spec); err != nil {
		return err
	}
	for _, m := range spec.Containers[0].VolumeMounts {
		at := filepath.Join(p.root, m.MountPath)
		if err := os.MkdirAll(at, 0o755); err != nil {
			return err
		}
		v := volume(spec, m.Name)
		switch {
		case v.EmptyDir != nil:
			if err := os.Chmod(at, 0o777); err != nil {
				return err
			}
		case v.PersistentVolumeClaim != nil:
			if err := p.mountClaim(w.claim(p.ns, v.PersistentVolumeClaim.ClaimName), at); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *pod) mountClaim(claim, at string) error {
	for _, m := range p.mounts {
		if m == at {
			return nil
		}
	}
	if err := syscall.Mount(claim, at, "", syscall.MS_BIND, ""); err != nil {
		return fmt.Errorf("mount a claim: %w", err)
	}
	p.mounts = append(p.mounts, at)
	return nil
}

// syncSecrets updates the files atomically, as a kubelet does: the keys are links into ..data, a link that is replaced.
func (p *pod) syncSecrets(ctx context.Context, w *world, spec corev1.PodSpec) error {
	for _, m := range spec.Containers[0].VolumeMounts {
		v := volume(spec, m.Name)
		if v.Secret == nil {
			continue
		}
		var secret corev1.Secret
		if err := w.api.Get(ctx, types.NamespacedName{Namespace: p.ns, Name: v.Secret.SecretName}, &secret); err != nil {
			return client.IgnoreNotFound(err)
		}
		if err := project(filepath.Join(p.root, m.MountPath), secret.ResourceVersion, secret.Data); err != nil {
			return err
		}
	}
	return nil
}

// project writes the keys of a Secret as files.
func project(at, version string, data map[string][]byte) error {
	if current, err := os.Readlink(filepath.Join(at, "..data")); err == nil && current == "..v"+version {
		return nil
	}
	dir := filepath.Join(at, "..v"+version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for key, value := range data {
		if err := os.WriteFile(filepath.Join(dir, key), value, 0o644); err != nil {
			return err
		}
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(at, key)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	next := filepath.Join(at, "..next")
	return errors.Join(os.Symlink("..v"+version, next), os.Rename(next, filepath.Join(at, "..data")))
}

// ready returns the result of the readiness probe.
func (p *pod) ready(ctx context.Context) bool {
	if p.process == nil || p.process.ended() {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.address+":8080/healthz", nil)
	if err != nil {
		return false
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	_ = res.Body.Close() // unread
	return res.StatusCode == http.StatusOK
}

// remove ends the process as a kubelet does, and unmounts its volumes.
func (p *pod) remove() {
	if p.process != nil {
		p.process.stop(15 * time.Second)
	}
	sort.Sort(sort.Reverse(sort.StringSlice(p.mounts)))
	for _, m := range p.mounts {
		_ = syscall.Unmount(m, 0) // all mounts end with the namespace
	}
	p.mounts = nil
}

func volume(spec corev1.PodSpec, name string) corev1.Volume {
	for _, v := range spec.Volumes {
		if v.Name == name {
			return v
		}
	}
	return corev1.Volume{}
}

func copyFile(to, from string) error {
	b, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, b, 0o755)
}
