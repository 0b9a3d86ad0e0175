package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// migrationTime limits a migration. The manager checks one every 30 seconds.
const migrationTime = 8 * time.Minute

const storeS3 = `{type: s3, s3: {bucket: migrations, endpoint: "http://` + addressS3 + `:9000", region: us-east-1, usePathStyle: true, credentialsSecretRef: {name: s3}}}`

const secretS3 = `
apiVersion: v1
kind: Secret
metadata: {name: s3}
stringData: {accessKeyID: test, secretAccessKey: test}
---`

// storeClaim is a volume that both providers mount. Without its label the manager does not mount it.
const storeClaim = `{type: pvc, pvc: {name: staging}}`

const claim = `
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: staging, labels: {virtrigaud.io/component: migration-storage}}
spec: {accessModes: [ReadWriteMany], resources: {requests: {storage: 10Gi}}}
---`

// migration returns a VMMigration of a VM to another provider, with quick retries.
func migration(name, source, target, store string) string {
	return fmt.Sprintf(`
apiVersion: infra.virtrigaud.io/v1beta1
kind: VMMigration
metadata: {name: %[1]s}
spec:
  source: {vmRef: {name: %[2]s}, createSnapshot: true}
  target: {name: %[1]s, providerRef: {name: %[3]s}, classRef: {name: small}, powerOn: true}
  options: {diskFormat: qcow2, retryPolicy: {maxRetries: 5, retryDelay: 5s}}
  storage: %[4]s
---`, name, source, target, store)
}

// twoProviders makes two NASes of different releases, each with a provider, and a running VM on the first.
func (s *stage) twoProviders(ctx context.Context) (from, to string, err error) {
	from, to = "truenas-"+s.name+"-a", "truenas-"+s.name+"-b"
	for i, release := range []string{"25.10", "27"} {
		n, err := s.newNAS(ctx, release)
		if err != nil {
			return "", "", err
		}
		if err := s.provider(ctx, []string{from, to}[i], n); err != nil {
			return "", "", err
		}
	}
	if err := s.apply(ctx, class+goodImage(s.name)+machine("web", from, s.name)); err != nil {
		return "", "", err
	}
	return from, to, s.waitPower(ctx, "web", "On")
}

// migrateS3 migrates a running VM between two NASes over S3.
func migrateS3(ctx context.Context, s *stage) error {
	return migrate(ctx, s, secretS3, storeS3)
}

// migrateClaim migrates one over a volume that both providers mount. The manager rolls out both providers again for it.
func migrateClaim(ctx context.Context, s *stage) error {
	return migrate(ctx, s, claim, storeClaim)
}

func migrate(ctx context.Context, s *stage, before, store string) error {
	_, to, err := s.twoProviders(ctx)
	if err != nil {
		return err
	}
	ask := func() error { return s.apply(ctx, before+migration("moved", "web", to, store)) }
	if err := ask(); err != nil {
		return err
	}
	return s.migrated(ctx, ask)
}

// lostByManager is the permanent failure of a migration whose import record the manager has overwritten. It happens when the
// import ends before the manager has read its own last write. The manager does not import again.
const lostByManager = "import did not record disk info"

// settledMigration waits until a migration is Ready. It deletes and recreates one that the manager has lost, as a user must.
func (s *stage) settledMigration(ctx context.Context, create func() error) error {
	for range 3 {
		lost := false
		if err := s.wait(ctx, migrationTime, "VMMigration", "moved", "Ready", func(o *unstructured.Unstructured) bool {
			lost = text(o, "status", "phase") == "Failed" && strings.Contains(text(o, "status", "message"), lostByManager)
			return lost || phase("Ready")(o)
		}); err != nil || !lost {
			return err
		}
		s.note("the manager has lost what it had imported; the VMMigration is deleted and created again")
		if err := s.deleteAll(ctx, "VMMigration"); err != nil {
			return err
		}
		if err := create(); err != nil {
			return err
		}
	}
	return fmt.Errorf("the manager has lost the migration three times")
}

// migrated waits for the end of a migration and deletes all objects on both sides.
func (s *stage) migrated(ctx context.Context, create func() error) error {
	began := time.Now()
	if err := s.settledMigration(ctx, create); err != nil {
		return err
	}
	s.note("VMMigration moved is Ready, after %s", time.Since(began).Round(time.Second))
	if err := s.wait(ctx, 2*time.Minute, "VirtualMachine", "moved", "Ready", func(o *unstructured.Unstructured) bool { return ready(o) }); err != nil {
		return err
	}
	if _, err := s.nas[1].vm(ctx, "moved"); err != nil {
		return err
	}
	if err := s.deleteAll(ctx, "VMMigration"); err != nil {
		return err
	}
	if err := s.providersRun(ctx); err != nil {
		return err
	}
	if err := s.deleteAll(ctx, "VirtualMachine"); err != nil {
		return err
	}
	for _, n := range s.nas {
		if err := s.empty(ctx, n); err != nil {
			return err
		}
	}
	return nil
}

// providersRun waits until all providers have been running for a while. The removal of a claim replaces their pods, and while a
// provider is down, the manager drops VMs without deleting them.
func (s *stage) providersRun(ctx context.Context) error {
	var since time.Time
	return poll(ctx, 2*time.Minute, "the providers run", func() (bool, string) {
		all, err := list(ctx, s.w.api, s.ns, "Provider")
		if err != nil {
			return false, err.Error()
		}
		for _, o := range all {
			if now := text(&o, "status", "runtime", "phase"); now != "Running" {
				since = time.Time{}
				return false, o.GetName() + " is " + now
			}
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > 5*time.Second, "they run for less than 5 s"
	})
}
