package omni

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"

	"go.uber.org/zap"
)

// maxExtensionList limits the size of the factory's list of system extensions, which has about 40 KiB.
const maxExtensionList = 4 << 20

// systemExtensions caches the system extensions of image factories for Talos versions.
type systemExtensions struct {
	mu    sync.Mutex
	known map[string][]string // names, by the address of the list
}

// checkExtensions refuses system extensions that the image factory does not have for the machine's Talos version. It accepts all
// if the factory is unreachable, because the backend may still reach it.
func (p *Provisioner) checkExtensions(ctx context.Context, r *request, wanted []string) error {
	version := strings.TrimPrefix(r.GetTalosVersion(), "v")
	if len(wanted) == 0 || version == "" {
		return nil
	}
	base, err := p.factoryURL(ctx, "v"+version)
	if err != nil {
		return err
	}
	address := fmt.Sprintf("%s/version/v%s/extensions/official", base, version)
	offered, err := p.extensions.of(ctx, address, p.loginFor(address))
	if err != nil {
		r.log.Info("list of system extensions failed; they are used unchecked", zap.String("factory", base), zap.Error(err))
		return nil
	}
	for i, name := range wanted {
		if !slices.Contains(offered, name) {
			return refusal("extensions[%d]: the image factory has no system extension %q for Talos %s%s", i, name, version, nearestOf(name, offered))
		}
	}
	return nil
}

// of returns the names in a factory's list.
func (s *systemExtensions) of(ctx context.Context, address string, headers map[string]string) ([]string, error) {
	s.mu.Lock()
	known := s.known[address]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	ctx, cancel := context.WithTimeout(ctx, formatTimeout)
	defer cancel()
	resp, err := ask(ctx, http.MethodGet, address, headers)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the image factory returned %s", resp.Status)
	}
	var list []struct {
		Name string `json:"name"`
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxExtensionList)).Decode(&list); err != nil {
		return nil, fmt.Errorf("parse the image factory's list of system extensions: %w", err)
	}
	names := []string{}
	for _, e := range list {
		names = append(names, e.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.known == nil {
		s.known = map[string][]string{}
	}
	s.known[address] = names
	return names, nil
}
