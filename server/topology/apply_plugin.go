package topology

func (c RegisterPlugin) apply(d *draft) error {
	p := c.Plugin
	switch {
	case !pluginName.MatchString(p.Name):
		return refuse(CodeInvalidName, "%s is no name of a plugin: use 1 to 128 of A-Z a-z 0-9 . _ / -, and begin with a letter or digit", quoted(p.Name))
	case p.Kind != "notifier" && p.Kind != "model":
		return refuse(CodeBadRequest, "plugin %q is of kind %s, and has to be \"notifier\" or \"model\"", p.Name, quoted(p.Kind))
	case p.Kind == "notifier" && !pluginType.MatchString(p.Type):
		return refuse(CodeInvalidName, "%s is no type of a notifier: use 1 to 32 of a-z 0-9 -", quoted(p.Type))
	case p.RunOn != "" && p.RunOn != "owner" && p.RunOn != "every":
		return refuse(CodeBadRequest, "run_on of plugin %q is %s, and has to be \"owner\" or \"every\"", p.Name, quoted(p.RunOn))
	case p.SHA256 != "" && !hex256.MatchString(p.SHA256):
		return refuse(CodeBadRequest, "sha256 of plugin %q has to be 64 hexadecimal digits", p.Name)
	case len(p.Namespaces) == 0:
		return refuse(CodeBadRequest, "plugin %q names no namespaces", p.Name)
	}
	if err := checkTexts(p.Version); err != nil {
		return err
	}
	for _, name := range p.Namespaces {
		if d.Namespaces[name] == nil {
			return unknownNamespace(d, name)
		}
	}
	d.plugins()[p.Name] = &p
	return nil
}

func (c DeregisterPlugin) apply(d *draft) error {
	if d.Plugins[c.Name] == nil {
		return refuse(CodePluginNotFound, "there is no plugin %s in the catalog; there are %s", quoted(c.Name), names(d.Plugins))
	}
	delete(d.plugins(), c.Name)
	return nil
}
