// Command e2e tests the provider with VirtRigaud's own manager: etcd, a Kubernetes API server, the manager, simulated TrueNAS
// systems and providers run as separate processes, and every request is a Kubernetes object, starting from the manifests in
// deploy/. deploy/e2e/run builds the programs and calls this command.
//
// It runs in namespaces of its own (processes, mounts, network), so that nothing is reachable from outside, names of Services
// resolve as in a cluster, and no process survives the command. Every scenario has a Kubernetes namespace, NAS and providers of
// its own, so that faults in one scenario do not affect others.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// settings are the parsed arguments.
type settings struct {
	etcd, apiserver, manager, provider, sim string // programs
	crds, deploy                            string // folders: VirtRigaud's definitions, this project's manifests
	logs                                    string // folder
	scenarios                               string
	parallel                                int
	keep                                    bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "e2e: %v\n", err)
		stop()
		os.Exit(1)
	}
}

func parse(args []string) (*settings, error) {
	s := &settings{}
	flags := flag.NewFlagSet("e2e", flag.ContinueOnError)
	flags.StringVar(&s.etcd, "etcd", "etcd", "program")
	flags.StringVar(&s.apiserver, "kube-apiserver", "kube-apiserver", "program")
	flags.StringVar(&s.manager, "manager", "manager", "program: VirtRigaud's manager")
	flags.StringVar(&s.crds, "crds", "crds", "folder with VirtRigaud's CustomResourceDefinitions")
	flags.StringVar(&s.provider, "provider", "virtrigaud-provider-truenas", "program")
	flags.StringVar(&s.sim, "sim", "truenas-sim", "program")
	flags.StringVar(&s.deploy, "deploy", "deploy", "folder with the manifests")
	flags.StringVar(&s.logs, "logs", "", "folder for the logs of all processes; default: a new one, removed when all went well")
	flags.StringVar(&s.scenarios, "scenarios", "all", "all, short, or names with commas")
	flags.IntVar(&s.parallel, "parallel", 4, "scenarios that run at once")
	flags.BoolVar(&s.keep, "keep", false, "keeps the logs when all went well, too")
	if err := flags.Parse(args); err != nil {
		return nil, err
	}
	return s, nil
}

func run(ctx context.Context, args []string, out io.Writer) error {
	s, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	if !inside() {
		return enter(ctx)
	}
	log.SetLogger(logr.Discard()) // Otherwise controller-runtime logs the missing logger with a stack trace.
	if err := furnish(); err != nil {
		return err
	}
	chosen, err := choose(s.scenarios)
	if err != nil {
		return err
	}
	if s.logs == "" {
		if s.logs, err = os.MkdirTemp("", "e2e-virtrigaud-"); err != nil {
			return err
		}
	}
	if s.logs, err = filepath.Abs(s.logs); err != nil {
		return err
	}
	began := time.Now()
	w := newWorld(s, out, began)
	defer w.close()
	if err := w.start(ctx); err != nil {
		return fmt.Errorf("%w\nlogs: %s", err, s.logs)
	}
	if failed := w.play(ctx, chosen); failed > 0 {
		return fmt.Errorf("%d of %d scenarios failed; logs: %s", failed, len(chosen), s.logs)
	}
	w.close()
	fmt.Fprintf(out, "\nAll %d scenarios passed in %s.\n", len(chosen), time.Since(began).Round(time.Second))
	if s.keep {
		fmt.Fprintf(out, "logs: %s\n", s.logs)
		return nil
	}
	return os.RemoveAll(s.logs)
}
