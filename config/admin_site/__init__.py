"""The admin as a whole: the site, its overview, navigation and search."""

from config.admin_site.site import SluiceAdminSite

__all__ = ("SluiceAdminSite",)
