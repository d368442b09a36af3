"""What every setting of conf/ may be: declared once, checked before any work begins."""
