package redfish

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"go.uber.org/zap"

	providerv1 "github.com/projectbeskar/virtrigaud/proto/rpc/provider/v1"
)

// Values without a field in the contract are settings of Reconfigure, in Class.ExtraConfig. A Class with only settings leaves the
// rest of the VM unchanged. A provider that supports a setting lists the extension; Describe returns the value in the raw data,
// under the setting's name without the prefix.
const (
	extensionBoot  = "boot"
	extensionMedia = "media"

	settingBoot  = "truenas.io/boot"      // the boot source of each start: disk, network or cdrom
	settingOnce  = "truenas.io/boot_once" // the boot source of the next start alone; likewise, or none
	settingMedia = "truenas.io/media"     // the URL of an ISO for the CD-ROM drive, or none

	none = "none"
)

// The sources of a boot override, in Redfish's terms and in those of the settings.
var sources = map[string]string{"Pxe": "network", "Cd": "cdrom", "Hdd": "disk"}

// The values of BootSourceOverrideEnabled.
const (
	disabled   = "Disabled"
	once       = "Once"
	continuous = "Continuous"
)

// override is the boot override of a system.
type override struct{ enabled, target string }

// override returns the boot override according to the provider.
func (y system) override() override {
	for _, o := range []struct{ attribute, enabled string }{{"boot_once", once}, {"boot", continuous}} {
		for target, source := range sources {
			if y.attribute(o.attribute) == source && (o.enabled == once || source != "disk") {
				return override{o.enabled, target}
			}
		}
	}
	return override{disabled, "None"}
}

func (y system) boot() object {
	now := y.override()
	body := object{
		"BootSourceOverrideEnabled": now.enabled, "BootSourceOverrideEnabled@Redfish.AllowableValues": []string{disabled, once, continuous},
		"BootSourceOverrideTarget": now.target, "BootSourceOverrideTarget@Redfish.AllowableValues": []string{"None", "Pxe", "Cd", "Hdd"},
	}
	if mode := y.mode(); mode != "" {
		body["BootSourceOverrideMode"], body["BootSourceOverrideMode@Redfish.AllowableValues"] = mode, []string{mode}
	}
	return body
}

// patchSystem changes the boot override, which is the only changeable part of a system.
func (s *Service) patchSystem(c *call, body object) error {
	y, err := s.system(c)
	if err != nil {
		return err
	}
	want, err := wanted(body, y.resource())
	if err != nil {
		return err
	}
	if len(want) == 0 {
		return nil
	}
	next, err := y.override().changed(want)
	if err != nil {
		return err
	}
	return s.configure(c, y, extensionBoot, "Boot", next.settings())
}

// wanted checks the body of a PATCH against the resource, and returns the desired Boot.
func wanted(body, resource object) (map[string]string, error) {
	var wrong fault
	want := map[string]string{}
	for name, value := range body {
		boot, isObject := value.(object)
		switch _, known := resource[name]; {
		case strings.HasPrefix(name, "@odata."):
		case !known:
			wrong.add(name, msgPropertyUnknown, name)
		case name != "Boot":
			wrong.add(name, msgPropertyReadOnly, name)
		case !isObject:
			wrong.add(name, msgPropertyType, written(value), name)
		default:
			wrong.addBoot(boot, resource["Boot"].(object), want)
		}
	}
	return want, wrong.errorOrNil()
}

// addBoot checks the members of Boot against those of the resource, which list the allowed values.
func (f *fault) addBoot(boot, resource object, want map[string]string) {
	for name, value := range boot {
		at := "Boot/" + name
		text, isText := value.(string)
		allowed, writable := resource[name+"@Redfish.AllowableValues"].([]string)
		switch {
		case !writable:
			f.add(at, msgPropertyUnknown, name)
		case !isText:
			f.add(at, msgPropertyType, written(value), name)
		case !slices.Contains(allowed, text):
			f.add(at, msgPropertyList, text, name)
		default:
			want[name] = text
		}
	}
}

// changed returns the override after a change.
func (o override) changed(want map[string]string) (override, error) {
	enabled, enabledGiven := want["BootSourceOverrideEnabled"]
	target, targetGiven := want["BootSourceOverrideTarget"]
	switch {
	case enabled == disabled || target == "None":
		return override{disabled, "None"}, nil
	case enabledGiven && targetGiven:
		return override{enabled, target}, nil
	case !enabledGiven && targetGiven && o.enabled == disabled:
		return o, fail(msgPropertyMissing, "BootSourceOverrideEnabled")
	case enabledGiven && !targetGiven && o.target == "None":
		return o, fail(msgPropertyMissing, "BootSourceOverrideTarget")
	case enabledGiven:
		return override{enabled, o.target}, nil
	case targetGiven:
		return override{o.enabled, target}, nil
	}
	return o, nil // The request repeats the VM's mode.
}

// settings returns the settings for the override. By the standard, no override remains after a once: it also ends a continuous
// override.
func (o override) settings() map[string]string {
	switch o.enabled {
	case once:
		return map[string]string{settingBoot: "disk", settingOnce: sources[o.target]}
	case continuous:
		return map[string]string{settingBoot: sources[o.target], settingOnce: none}
	}
	return map[string]string{settingBoot: "disk", settingOnce: none}
}

// configure changes settings of a VM. It refuses when the provider does not list the extension, because such a provider would
// ignore the settings and return success.
func (s *Service) configure(c *call, y system, extension, action string, settings map[string]string) error {
	known, err := s.provider.knows(c.ctx, extension)
	switch {
	case err != nil:
		return err
	case !known:
		return fail(msgActionNotSupported, action).with(http.StatusBadRequest).because("The provider of this system does not support this setting.")
	}
	desired, err := json.Marshal(object{"Name": y.name(), "Class": object{"ExtraConfig": settings}})
	if err != nil {
		return err
	}
	s.log.Info("settings", zap.String("account", c.account.Name), zap.String("system", y.vm.GetId()), zap.String("of", action))
	defer s.provider.forget()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.ctx), s.patience)
	defer cancel()
	err = s.provider.reconfigure(ctx, &providerv1.ReconfigureRequest{Id: y.vm.GetId(), DesiredJson: string(desired)})
	if ctx.Err() != nil {
		return fail(msgUnavailable, retryAfter).because("The provider continues the operation; repeat the request for its result.")
	}
	return err
}

// reconfigure repeats a request until the change is made: if the response has a task, such as the download of an ISO, the call
// after the task makes the change.
func (p *provider) reconfigure(ctx context.Context, req *providerv1.ReconfigureRequest) error {
	for {
		resp, err := p.client.Reconfigure(ctx, req)
		if err != nil || resp.GetTask().GetId() == "" {
			return err
		}
		if err := p.finish(ctx, resp.GetTask()); err != nil {
			return err
		}
		if err := pause(ctx); err != nil {
			return err
		}
	}
}
