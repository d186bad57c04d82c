package topology

func (c CreateToken) apply(d *draft) error {
	t := c.Token
	switch {
	case !nodeName.MatchString(t.ID):
		return refuse(CodeInvalidName, "%s is no id of a join token", quoted(t.ID))
	case !hex256.MatchString(t.SHA256):
		return refuse(CodeBadRequest, "the join token has no SHA-256 of its secret")
	case c.At.IsZero() || !t.Expires.After(c.At):
		return refuse(CodeBadRequest, "a join token has to expire later than when it is made")
	case t.Uses < 1:
		return refuse(CodeBadRequest, "a join token has to be good for 1 use or more")
	case d.Tokens[t.ID] != nil:
		return refuse(CodeTokenExists, "there is a join token %q", t.ID)
	}
	if t.Relayer != "" {
		if err := checkPattern(t.Relayer); err != nil {
			return err
		}
	}
	if err := checkLabels(t.Labels); err != nil {
		return err
	}
	t.Expires = t.Expires.UTC()
	for id, old := range d.Tokens {
		if !c.At.Before(old.Expires) {
			delete(d.tokens(), id)
		}
	}
	d.tokens()[t.ID] = &t
	return nil
}

func (c RevokeToken) apply(d *draft) error {
	if d.Tokens[c.ID] == nil {
		return refuse(CodeTokenNotFound, "there is no join token %s: look at 'unisondb operator relayer token list'", quoted(c.ID))
	}
	delete(d.tokens(), c.ID)
	return nil
}
