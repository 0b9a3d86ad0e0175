package redfish

import (
	"net/url"
	"slices"
	"strings"
)

const (
	actionInsert = "VirtualMedia.InsertMedia"
	actionEject  = "VirtualMedia.EjectMedia"
)

func (y system) mediaPath(below ...string) string {
	return path("Managers", y.vm.GetId(), slices.Concat([]string{"VirtualMedia"}, below)...)
}

func (y system) mediaList() object {
	return collection("VirtualMediaCollection", "Virtual Media", []string{y.mediaPath("Cd")})
}

// media is the CD-ROM drive.
func (y system) media() object {
	image := y.attribute("media")
	body := object{
		"@odata.type": "#VirtualMedia.v1_6_0.VirtualMedia", "Id": "Cd", "Name": "CD-ROM drive", "MediaTypes": []string{"CD", "DVD"},
		"Inserted": image != "", "WriteProtected": true, "ConnectedVia": "NotConnected", "Image": nil, "ImageName": nil, "TransferMethod": "Stream",
		"Actions": object{
			"#" + actionInsert: object{"target": y.mediaPath("Cd", "Actions", actionInsert)},
			"#" + actionEject:  object{"target": y.mediaPath("Cd", "Actions", actionEject)},
		},
	}
	if image != "" {
		body["Image"], body["ConnectedVia"] = image, "URI"
		if u, err := url.Parse(image); err == nil && u.Path != "" {
			body["ImageName"] = u.Path[strings.LastIndexByte(u.Path, '/')+1:]
		}
	}
	return body
}

func (s *Service) insertMedia(c *call, body object) (answer, error) {
	values, err := parameters(actionInsert, body,
		parameter{name: "Image", required: true}, parameter{name: "Inserted", truth: true}, parameter{name: "WriteProtected", truth: true},
		parameter{name: "MediaType"}, parameter{name: "TransferMethod"}, parameter{name: "TransferProtocolType"}, parameter{name: "UserName"}, parameter{name: "Password"})
	if err != nil {
		return answer{}, err
	}
	if err := checkInsert(values); err != nil {
		return answer{}, err
	}
	y, err := s.system(c)
	if err != nil {
		return answer{}, err
	}
	return done, s.configure(c, y, extensionMedia, actionInsert, map[string]string{settingMedia: values.text("Image")})
}

// checkInsert refuses options that a CD-ROM drive does not support.
func checkInsert(values object) error {
	u, err := url.Parse(values.text("Image"))
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fail(msgParameterFormat, hidden, "Image", actionInsert).because("It must be an http or https URL.")
	case u.User != nil:
		return fail(msgParameterFormat, hidden, "Image", actionInsert).because("It must not hold a user name or a password.")
	case values["Inserted"] == false:
		return fail(msgParameterNotSupported, "Inserted", actionInsert)
	case values["WriteProtected"] == false:
		return fail(msgParameterNotSupported, "WriteProtected", actionInsert)
	}
	for name, allowed := range map[string][]string{"MediaType": {"CD", "DVD"}, "TransferMethod": {"Stream", "Upload"}, "TransferProtocolType": {"HTTP", "HTTPS"}} {
		if value, given := values[name]; given && !slices.Contains(allowed, values.text(name)) {
			return fail(msgParameterList, written(value), name, actionInsert)
		}
	}
	for _, name := range []string{"UserName", "Password"} {
		if values.text(name) != "" {
			return fail(msgParameterNotSupported, name, actionInsert)
		}
	}
	return nil
}

func (s *Service) ejectMedia(c *call, body object) (answer, error) {
	if _, err := parameters(actionEject, body); err != nil {
		return answer{}, err
	}
	y, err := s.system(c)
	if err != nil {
		return answer{}, err
	}
	return done, s.configure(c, y, extensionMedia, actionEject, map[string]string{settingMedia: none})
}
